//! `posewire status`: how a running service is.

use std::io;
use std::path::PathBuf;

use clap::Args;

use super::Failure;
use crate::fault::Exit;
use crate::service::{Snapshot, ask, default_sockets};

#[derive(Args)]
pub(super) struct ServiceStatus {
    /// Instance of posewire@.service; all that run, if none is named
    instance: Option<String>,
    /// Socket of a process that was started with `run --status-socket`
    #[arg(long, value_name = "PATH", conflicts_with = "instance")]
    socket: Option<PathBuf>,
    /// As JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// Nobody could be asked.
#[derive(Debug, thiserror::Error)]
enum Unknown {
    #[error("no instance of posewire@.service runs here: systemctl start posewire@NAME")]
    None,
    #[error("no instance {0:?} runs here; there are: {1}")]
    Name(String, String),
    #[error("{0}: {1}")]
    Socket(String, io::Error),
}

pub(super) fn status(args: &ServiceStatus) -> Result<(), Failure> {
    let unknown = |e: Unknown| Failure::new(Exit::Internal, &e);
    let asked: Vec<(String, PathBuf)> = match (&args.socket, &args.instance) {
        (Some(path), _) => vec![(path.display().to_string(), path.clone())],
        (None, Some(name)) => {
            let all = default_sockets();
            let names = all.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>().join(", ");
            let one = all.into_iter().find(|(n, _)| n == name);
            vec![one.ok_or_else(|| unknown(Unknown::Name(name.clone(), names)))?]
        }
        (None, None) => default_sockets(),
    };
    if asked.is_empty() {
        return Err(unknown(Unknown::None));
    }
    let mut failed = None;
    for (name, path) in &asked {
        match ask(path) {
            Ok(snapshot) => show(name, &snapshot, args.json, asked.len() > 1),
            Err(e) => failed = Some(Unknown::Socket(path.display().to_string(), e)),
        }
    }
    failed.map_or(Ok(()), |e| Err(unknown(e)))
}

fn show(name: &str, snapshot: &Snapshot, json: bool, several: bool) {
    if json {
        println!("{}", serde_json::to_string(snapshot).unwrap_or_default());
        return;
    }
    if several {
        print!("{name}: ");
    }
    print!("{}", snapshot.text());
}
