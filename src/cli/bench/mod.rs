//! `posewire bench`: what poses cost on this machine.

mod measure;

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Failure;
use super::single::Single;
use crate::bench::{Report, compare, plot};
use crate::config::{Config, PublishConfig};
use crate::degrade::DegradeSettings;
use crate::fault::Exit;

/// Longer measurements are a soak's: tests/soak.rs.
const MOST_SECONDS: f64 = 3_600.0;

#[derive(Args)]
pub(super) struct Bench {
    #[command(flatten)]
    single: Single,
    /// Frames per second, instead of a recording's own times
    #[arg(long, value_name = "FPS")]
    rate: Option<f64>,
    /// Not at the source's pace: every frame, as fast as they can be handled
    #[arg(long)]
    flat_out: bool,
    /// How long to measure
    #[arg(long, value_name = "S", default_value_t = 20.0)]
    seconds: f64,
    /// How long to run before measuring, from the first packet on
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    warm_up: f64,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw it: times by stage, processor and memory over time
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Measure nothing: put two reports side by side
    #[arg(long, num_args = 2, value_names = ["A.json", "B.json"], exclusive = true)]
    compare: Option<Vec<PathBuf>>,
}

/// What is wrong with what was asked for.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    #[error("--{name} {value}: give a number of seconds from {least} to {MOST_SECONDS}")]
    Seconds { name: &'static str, value: f64, least: f64 },
    #[error("{path}: {problem}")]
    File { path: String, problem: String },
    #[error("{path}: {problem}; give two files that posewire bench --json wrote")]
    Report { path: String, problem: String },
    #[error("no socket of this machine's own to send to: {0}")]
    Socket(#[from] std::io::Error),
    #[error(
        "no packet in {0:.0} s: nothing was measured (does the source give frames? posewire check)"
    )]
    Silent(f64),
    #[error("it ended before measuring began: a signal, or the source's end; nothing was measured")]
    Early,
}

impl BenchError {
    fn file(path: &Path, problem: impl ToString) -> Self {
        Self::File { path: path.display().to_string(), problem: problem.to_string() }
    }

    fn failure(&self) -> Failure {
        Failure::config(self)
    }
}

pub(super) fn bench(args: &Bench) -> Result<(), Failure> {
    if let Some([a, b]) = args.compare.as_deref() {
        println!("{}", compare::text(&read(a)?, &read(b)?));
        return Ok(());
    }
    for (name, value, least) in [("seconds", args.seconds, 0.5), ("warm-up", args.warm_up, 0.0)] {
        if !(least..=MOST_SECONDS).contains(&value) {
            return Err(BenchError::Seconds { name, value, least }.failure());
        }
    }
    // Whether they can be written is known before a minute has been spent.
    for path in [&args.json, &args.plot].into_iter().flatten() {
        fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(|e| BenchError::file(path, e).failure())?;
    }
    // Nobody reads what arrives here: the kernel drops what its buffer does not hold.
    let sink = UdpSocket::bind(("127.0.0.1", 0)).map_err(|e| BenchError::from(e).failure())?;
    let port = sink.local_addr().map_err(|e| BenchError::from(e).failure())?.port();
    let config = config(args, format!("udp://127.0.0.1:{port}"))?;
    let report = measure::measure(args, config)?;
    println!("{}", report.text());
    let write = |path: &Option<PathBuf>, content: &dyn Fn() -> String| match path {
        Some(path) => fs::write(path, content())
            .map_err(|e| Failure::new(Exit::Config, &BenchError::file(path, e))),
        None => Ok(()),
    };
    write(&args.json, &|| serde_json::to_string_pretty(&report).unwrap_or_default() + "\n")?;
    write(&args.plot, &|| plot::svg(&report))
}

fn read(path: &Path) -> Result<Report, Failure> {
    let text = fs::read_to_string(path).map_err(|e| BenchError::file(path, e).failure())?;
    Report::from_json(&text).map_err(|problem| {
        BenchError::Report { path: path.display().to_string(), problem }.failure()
    })
}

/// What is measured: the whole pipeline of one source, its packets sent to `target`, a clip
/// repeated. Leaving out work is left out: a machine that cannot keep up is to be seen as such.
fn config(args: &Bench, target: String) -> Result<Config, Failure> {
    let mut config = args.single.config()?;
    config.source.rate = args.rate.or(config.source.rate);
    config.source.realtime = !args.flat_out;
    config.source.repeat = true;
    config.degrade = DegradeSettings { enabled: false, ..config.degrade };
    config.publish = vec![PublishConfig { uri: target }];
    Ok(config)
}
