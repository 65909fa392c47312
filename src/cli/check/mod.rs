//! `posewire check`: what stands between this machine and good poses, each with its remedy.
//!
//! - [`plan`]: configuration, models, engine, sources, targets;
//! - [`devices`]: cameras, serial lines, permissions, USB;
//! - [`host`]: clock, disk, heat, power;
//! - [`self_test`]: the GPU against the CPU, on request.
//!
//! Nothing on the machine is changed.

mod devices;
mod host;
mod plan;
mod self_test;

use std::fmt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::Failure;
use crate::config::Plan;
use crate::fault::Exit;

#[derive(Args)]
pub(super) struct Check {
    /// Configuration file (TOML) of the run to come
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Do not open the configured source: a running instance may have it
    #[arg(long)]
    no_source: bool,
    /// Instead of looking at the machine, hold the configured networks on the GPU against the CPU:
    /// distances, and how long a call takes; builds engines that are not there
    #[arg(long)]
    self_test: bool,
    /// One JSON object with every finding
    #[arg(long)]
    json: bool,
    /// Only what is not in order
    #[arg(short, long)]
    quiet: bool,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// Cannot be told here, or does not matter unless it is wanted.
    Note,
    /// It will run, with less than there could be.
    Warning,
    /// It will not run so.
    Error,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Finding {
    /// What: `camera`, `clock`, ...
    subject: &'static str,
    level: Level,
    /// What was found.
    found: String,
    /// What helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

/// Everything that was found.
#[derive(Default, Serialize)]
pub(super) struct Report {
    findings: Vec<Finding>,
}

impl Report {
    fn ok(&mut self, subject: &'static str, found: impl Into<String>) {
        self.add(subject, Level::Ok, found, None::<String>);
    }

    fn note(&mut self, subject: &'static str, found: impl Into<String>) {
        self.add(subject, Level::Note, found, None::<String>);
    }

    fn warn(&mut self, subject: &'static str, found: impl Into<String>, remedy: impl Into<String>) {
        self.add(subject, Level::Warning, found, Some(remedy));
    }

    fn error(
        &mut self,
        subject: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(subject, Level::Error, found, Some(remedy));
    }

    fn add(
        &mut self,
        subject: &'static str,
        level: Level,
        found: impl Into<String>,
        remedy: Option<impl Into<String>>,
    ) {
        let (found, remedy) = (found.into(), remedy.map(Into::into));
        self.findings.push(Finding { subject, level, found, remedy });
    }

    fn worst(&self) -> Level {
        self.findings.iter().map(|f| f.level).max().unwrap_or(Level::Ok)
    }

    fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|f| f.level == level).count()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.level {
            Level::Ok => "ok     ",
            Level::Note => "note   ",
            Level::Warning => "WARNING",
            Level::Error => "ERROR  ",
        };
        write!(f, "{mark} {:<9} {}", self.subject, self.found)?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n{:18}-> {remedy}", ""),
            None => Ok(()),
        }
    }
}

/// Where the machine's files are; a test puts others there.
struct Host<'a> {
    root: &'a Path,
}

impl Host<'_> {
    /// A file of one line, such as those of /sys.
    fn read(&self, path: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.root.join(path)).ok()?;
        Some(text.trim().trim_end_matches('\0').to_owned())
    }

    /// The entries of a folder, sorted.
    fn list(&self, path: &str) -> Vec<String> {
        let folder = std::fs::read_dir(self.root.join(path));
        let mut names: Vec<String> = folder
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

pub(super) fn check(args: &Check) -> Result<(), Failure> {
    let host = Host { root: Path::new("/") };
    let mut report = Report::default();
    let plan = plan::configuration(args.config.as_deref(), &mut report);
    plan::models(plan.as_ref(), &mut report);
    plan::engine(plan.as_ref(), &host, &mut report);
    if args.self_test {
        self_test::gpu(plan.as_ref(), &mut report);
    } else {
        machine(args, plan.as_ref(), &host, &mut report);
    }
    tell(&report, args);
    let exit = match report.worst() {
        Level::Ok | Level::Note => return Ok(()),
        Level::Warning => Exit::Warnings,
        Level::Error => Exit::Config,
    };
    Err(Failure { message: String::new(), exit })
}

fn machine(args: &Check, plan: Option<&Plan>, host: &Host<'_>, report: &mut Report) {
    devices::groups(host, report);
    devices::cameras(host, report);
    devices::usb(host, report);
    plan::sources(plan, !args.no_source, report);
    plan::targets(plan, host, report);
    plan::recording(plan, report);
    host::clock(plan, host, report);
    host::heat(host, report);
    host::power(host, report);
    host::memory(host, report);
}

fn tell(report: &Report, args: &Check) {
    if args.json {
        println!("{}", serde_json::to_string_pretty(report).unwrap_or_default());
        return;
    }
    for finding in &report.findings {
        if !args.quiet || finding.level > Level::Note {
            println!("{finding}");
        }
    }
    println!(
        "{} error(s), {} warning(s), {} in order",
        report.count(Level::Error),
        report.count(Level::Warning),
        report.count(Level::Ok)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_decides() {
        let mut report = Report::default();
        assert_eq!(report.worst(), Level::Ok);
        report.note("a", "b");
        report.warn("a", "b", "c");
        assert_eq!(report.worst(), Level::Warning);
        report.error("a", "b", "c");
        report.ok("a", "b");
        assert_eq!((report.worst(), report.count(Level::Error)), (Level::Error, 1));
    }

    #[test]
    fn a_finding_is_shown_with_its_remedy() {
        let mut report = Report::default();
        report.warn("clock", "free", "install chrony");
        let text = report.findings[0].to_string();
        assert!(text.starts_with("WARNING clock     free\n"), "{text}");
        assert!(text.ends_with("-> install chrony"), "{text}");
    }
}
