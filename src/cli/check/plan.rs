//! Configuration, models, engine, sources and targets.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Host, Level, Report};
use crate::capture::{self, FrameSource, Next};
use crate::config::{CameraPlan, Config, Plan};
use crate::engine;
use crate::engine::tensorrt::{Machine, version::COMPILED_IN};
use crate::fault::{Chain, Fault, Severity};
use crate::publish::serial::port::{Port, PortError, SerialTarget};
use crate::publish::udp::UdpTarget;

/// A source that opens and gives nothing for so long is said to give nothing.
const FIRST_FRAME: Duration = Duration::from_secs(5);

/// The plan of a configuration file, where one is named and can be run.
pub(super) fn configuration(path: Option<&Path>, report: &mut Report) -> Option<Plan> {
    let Some(path) = path else {
        report.note(
            "config",
            "none named: --config FILE checks a configuration's source and targets",
        );
        return None;
    };
    match Config::from_file(path).and_then(Config::check) {
        Ok(plan) => {
            report.ok("config", format!("{} can be run", path.display()));
            Some(plan)
        }
        Err(e) => {
            report.error(
                "config",
                Chain(&e).to_string(),
                "correct that key; docs/configuration.md explains each",
            );
            None
        }
    }
}

/// Every model's file against the digest of its manifest.
pub(super) fn models(plan: Option<&Plan>, report: &mut Report) {
    let dir = plan.and_then(|p| p.models.dir.as_deref());
    let catalog = match dir {
        Some(dir) => engine::Catalog::with_dir(dir),
        None => engine::Catalog::embedded(),
    };
    let catalog = match catalog {
        Ok(catalog) => catalog,
        Err(e) => {
            let remedy = "correct [models] dir, or leave it out: posewire has models of its own";
            return report.error("models", Chain(&e).to_string(), remedy);
        }
    };
    let mut whole = Vec::new();
    for model in catalog.models() {
        match model.bytes() {
            Ok(_) => whole.push(model.name.as_str()),
            Err(e) => report.error(
                "models",
                Chain(&e).to_string(),
                "fetch it again: `posewire models pull NAME --models DIR`",
            ),
        }
    }
    report.ok("models", format!("{} whole, by SHA-256: {}", whole.len(), whole.join(", ")));
    let Some(plan) = plan else { return };
    let lifter = catalog.pick(engine::ModelKind::Lifter, plan.models.lifter.as_deref());
    let detector = catalog.detector(plan.models.detector());
    for e in [detector.err(), lifter.err()].into_iter().flatten() {
        report.error("models", Chain(&e).to_string(), "`posewire models` lists the names");
    }
}

/// What computes.
pub(super) fn engine(plan: Option<&Plan>, host: &Host<'_>, report: &mut Report) {
    let wanted = plan.map_or("auto", |p| p.backend.as_str());
    match engine::choose(wanted) {
        Ok((_, why)) => report.ok("engine", why),
        Err(e) => report.error(
            "engine",
            Chain(&e).to_string(),
            "backend = \"auto\" under [engine] takes what there is",
        ),
    }
    let gpu = ["dev/nvidia0", "dev/nvhost-gpu", "dev/nvgpu/igpu0"]
        .iter()
        .any(|p| host.root.join(p).exists());
    let machine = Machine::get();
    match (machine.gpu(), gpu) {
        (Ok(words), _) => report.ok("gpu", words),
        (Err(_), false) => report.note("gpu", "no NVIDIA GPU here: the CPU computes"),
        (Err(why), true) => report.warn(
            "gpu",
            format!("an NVIDIA GPU that cannot be used: {why}"),
            "install its driver (Jetson: it comes with JetPack); until then the CPU computes",
        ),
    }
    let compiled_in = match COMPILED_IN {
        "" => "this posewire was built without TensorRT's headers".to_owned(),
        families => format!("this posewire serves {families}"),
    };
    match machine.library() {
        Ok(words) => report.ok("tensorrt", format!("{words}; {compiled_in}")),
        Err(why) if machine.gpu().is_ok() => report.warn(
            "tensorrt",
            format!("{why}; {compiled_in}"),
            "Jetson: apt-get install tensorrt; docs/tensorrt.md says what is served; until then \
             the CPU computes",
        ),
        Err(_) => report.note("tensorrt", format!("not used; {compiled_in}")),
    }
}

/// Opens the configured sources and waits for a frame of each.
pub(super) fn sources(plan: Option<&Plan>, open: bool, report: &mut Report) {
    let Some(plan) = plan.filter(|_| open) else { return };
    for camera in &plan.cameras {
        source(camera, report);
    }
}

fn source(camera: &CameraPlan, report: &mut Report) {
    let mut source = match capture::open(&camera.source, &camera.options) {
        Ok(source) => source,
        Err(e) => {
            // What may come back stops nothing: it is waited for.
            let level = if e.severity() == Severity::Fatal { Level::Error } else { Level::Warning };
            let words = Chain(&e).to_string();
            let remedy = if words.contains("another program") {
                "is an instance running? `posewire status`; `fuser -v /dev/video*` tells others"
            } else {
                "see the cameras above; a camera that is away is waited for"
            };
            return report.add("source", level, words, Some(remedy));
        }
    };
    match first_frame(source.as_mut()) {
        Ok(after) => report.ok(
            "source",
            format!(
                "{}: first frame after {:.1} s",
                source.describe().summary,
                after.as_secs_f64()
            ),
        ),
        Err(words) => report.error(
            "source",
            format!("{}: {words}", source.describe().summary),
            "another cable, port or format (?format=MJPG&size=640x480)",
        ),
    }
}

fn first_frame(source: &mut dyn FrameSource) -> Result<Duration, String> {
    let begin = Instant::now();
    while begin.elapsed() < FIRST_FRAME {
        match source.next(Duration::from_millis(100)) {
            Ok(Next::Frame(_)) => return Ok(begin.elapsed()),
            Ok(Next::Idle) => {}
            Ok(Next::End) => return Err("it holds no frame".into()),
            Err(e) if e.severity() == Severity::Skip => {}
            Err(e) => return Err(Chain(&e).to_string()),
        }
    }
    Err(format!("no frame within {} s", FIRST_FRAME.as_secs()))
}

/// Where poses go.
pub(super) fn targets(plan: Option<&Plan>, host: &Host<'_>, report: &mut Report) {
    let Some(plan) = plan else { return };
    if plan.publish.is_empty() {
        report.warn(
            "target",
            "none: poses go nowhere",
            "add a [[publish]] with uri = \"udp://HOST:PORT\"",
        );
    }
    for uri in &plan.publish {
        if uri.starts_with("udp:") {
            match UdpTarget::parse(uri) {
                Ok(target) => udp(uri, target.address, host, report),
                Err(e) => {
                    report.error("target", format!("{uri}: {e}"), "correct it under [[publish]]")
                }
            }
        } else if uri.starts_with("serial:") {
            match SerialTarget::parse(uri) {
                Ok(target) => serial(&target, report),
                Err(e) => {
                    report.error("target", format!("{uri}: {e}"), "correct it under [[publish]]")
                }
            }
        } else {
            report.note("target", format!("{uri}: not looked at; `posewire run` opens it"));
        }
    }
}

/// Is there a way to the address, and on this machine somebody who listens?
fn udp(uri: &str, to: SocketAddr, host: &Host<'_>, report: &mut Report) {
    let any: SocketAddr = if to.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let way = std::net::UdpSocket::bind(any).and_then(|socket| {
        socket.connect(to)?;
        socket.local_addr()
    });
    match way {
        Err(e) => report.warn(
            "target",
            format!("{uri}: no way there: {e}"),
            "bring that network up; posewire goes on trying by itself",
        ),
        Ok(_) if to.ip().is_loopback() && !listens(host, to.port()) => report.warn(
            "target",
            format!("{uri}: nobody on this machine listens on UDP port {}", to.port()),
            format!("start the receiver; to look at the poses: posewire listen udp://{to}"),
        ),
        Ok(from) => report.ok("target", format!("{uri}: sent from {}", from.ip())),
    }
}

/// Is a UDP port of this machine bound? By the kernel's own tables.
fn listens(host: &Host<'_>, port: u16) -> bool {
    let wanted = format!(":{port:04X}");
    ["proc/net/udp", "proc/net/udp6"].iter().any(|table| {
        let text = host.read(table).unwrap_or_default();
        text.lines().skip(1).any(|line| {
            line.split_whitespace().nth(1).is_some_and(|local| local.ends_with(&wanted))
        })
    })
}

fn serial(target: &SerialTarget, report: &mut Report) {
    let path = &target.path;
    match Port::open(target) {
        Ok(port) if port.baud_differs_from(target.baud) => report.warn(
            "target",
            format!("serial {path}: the device does not do {} baud", target.baud),
            "take a rate that both ends have: 115200, 230400, 460800, 921600",
        ),
        Ok(_) => report.ok("target", format!("serial {path} at {} baud", target.baud)),
        Err(PortError::Gone(e)) => report.warn(
            "target",
            format!("serial {path}: not there ({e})"),
            "plug it in; it is opened by itself. `ls /dev/serial/by-id` lists those that are",
        ),
        Err(PortError::Busy(e)) => report.warn(
            "target",
            format!("serial {path}: another program has it ({e})"),
            format!("`fuser -v {path}` tells which; ModemManager takes lines for modems"),
        ),
        Err(PortError::Denied(e)) => report.error(
            "target",
            format!("serial {path}: may not be opened ({e})"),
            "add the user to the group dialout: usermod -aG dialout USER, and log in anew",
        ),
        Err(PortError::NotATerminal) => report.error(
            "target",
            format!("serial {path}: is no serial device"),
            "`ls /dev/serial/by-id` lists those that are",
        ),
        Err(PortError::Refused(e)) => report.error(
            "target",
            format!("serial {path}: refused what was asked for ({e})"),
            "leave out flow=hardware, or take another baud rate",
        ),
    }
}

/// Room for recordings, and the right to write them.
pub(super) fn recording(plan: Option<&Plan>, report: &mut Report) {
    let files =
        plan.into_iter().flat_map(|p| [p.record.file.clone(), p.record.flight.file.clone()]);
    for file in files.flatten() {
        let folder = match file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => ".".into(),
        };
        super::host::disk("recording", &folder, report);
    }
    super::host::disk("disk", Path::new("/var/lib/posewire"), report);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_port_is_found_in_the_kernels_tables() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let host = Host { root: Path::new("/") };
        assert!(listens(&host, port));
        drop(socket);
        assert!(!listens(&host, port));
    }

    #[test]
    fn a_source_that_cannot_work_is_an_error_and_one_that_is_away_a_warning() {
        let plan = |uri: &str| {
            let mut config = Config::default();
            config.source.uri = Some(uri.to_owned());
            config.check().unwrap()
        };
        for (uri, level) in [
            ("demo:1", Level::Ok),
            ("/no/such/file.mp4", Level::Error),
            ("v4l2:/dev/video-none", Level::Warning),
        ] {
            let mut report = Report::default();
            sources(Some(&plan(uri)), true, &mut report);
            assert_eq!(report.worst(), level, "{uri}");
        }
    }
}
