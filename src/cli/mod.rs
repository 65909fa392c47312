//! What can be asked of posewire: one file per subcommand.

mod attend;
mod bench;
mod calibrate;
mod check;
mod demo;
mod devices;
mod documents;
mod engines;
mod eval;
mod export;
mod listen;
mod logging;
mod models;
mod progress;
mod recorder;
mod recover;
mod reload;
mod replay;
mod run;
mod scenes;
mod service_status;
mod single;
mod snapshot;
mod start;
mod status;
mod view;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::engine::tensorrt;
use crate::fault::{Exit, Fault, Severity};

/// A camera becomes a 3D human-pose sensor.
///
/// Frames go in (a camera, a clip, or the built-in demo), people's 3D joints come out over UDP.
#[derive(Parser)]
#[command(name = "posewire", version, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Turn a camera or a recording into 3D poses and publish them
    Run(run::Run),
    /// Ask a running service how it is: cameras, rates, latencies, faults and their remedies
    Status(service_status::ServiceStatus),
    /// Look for what stands between this machine and good poses, with remedies
    ///
    /// Exit code: 0 all in order, 1 warnings, 78 errors.
    Check(check::Check),
    /// Show that it works: a drawn person of known pose, its packets and its true error
    Demo(demo::Demo),
    /// Receive packets and print them
    Listen(listen::Listen),
    /// List the cameras of this machine, their lasting names, formats, rates and controls
    Devices(devices::Devices),
    /// Measure what poses cost here: latency by stage, frames per second, processor, memory, power
    Bench(bench::Bench),
    /// One picture (PNG): what the camera sees with 2D skeletons, and the poses in 3D
    Snapshot(snapshot::Snapshot),
    /// Measure a lifter on data of known truth
    Eval(Box<eval::Eval>),
    /// Run a recording's frames through the present pipeline, and compare with what was recorded
    Replay(replay::Replay),
    /// Make a whole recording of one that was cut off
    Recover(recover::Recover),
    /// Turn a recording's poses into TRC, C3D, CSV or BVH
    Export(export::Export),
    /// List the models that are known here, or add one
    Models(models::Models),
    /// List, delete or build the GPU's engines
    Engines(engines::Engines),
    /// Measure a camera: its lens, and where it is
    Calibrate(calibrate::Calibrate),
    /// Write a shell's completions to standard output
    Completions(documents::Completions),
    /// Write the manual pages
    #[command(hide = true)]
    Man(documents::Man),
}

/// Why a subcommand ended, in words for the operator, and how the process is to end.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    exit: Exit,
}

impl Failure {
    pub(crate) fn new(exit: Exit, error: &dyn std::error::Error) -> Self {
        Self { message: crate::fault::Chain(error).to_string(), exit }
    }

    /// What kept a run from starting: only what may go away by itself is worth another start.
    pub(crate) fn start(fault: &dyn Fault) -> Self {
        let exit = match fault.severity() {
            Severity::Restart => Exit::Internal,
            Severity::Skip | Severity::Fatal => Exit::Config,
        };
        Self::new(exit, fault)
    }

    /// Something that starting again will not mend.
    pub(crate) fn config(error: &dyn std::error::Error) -> Self {
        Self::new(Exit::Config, error)
    }
}

/// Parses the command line, does what it asks and gives the exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::start();
    let done = match cli.command {
        Command::Run(args) => run::run(args),
        Command::Status(args) => service_status::status(&args),
        Command::Check(args) => check::check(&args),
        Command::Demo(args) => demo::demo(&args),
        Command::Listen(args) => listen::listen(&args),
        Command::Devices(args) => devices::devices(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::Snapshot(args) => snapshot::snapshot(&args),
        Command::Eval(args) => eval::eval(&args),
        Command::Replay(args) => replay::replay(&args),
        Command::Recover(args) => recover::recover(&args),
        Command::Export(args) => export::export(&args),
        Command::Models(args) => models::models(&args),
        Command::Engines(args) => engines::engines(&args),
        Command::Calibrate(args) => calibrate::calibrate(&args),
        Command::Completions(args) => documents::completions(&args),
        Command::Man(args) => documents::man(&args),
    };
    let exit = match done {
        Ok(()) => Exit::Success,
        Err(failure) => {
            // A report that was printed needs no further words.
            if !failure.message.is_empty() {
                log::error!("{}", failure.message);
            }
            failure.exit
        }
    };
    tensorrt::leave_if_busy(exit.code());
    ExitCode::from(exit.code())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
