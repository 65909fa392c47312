//! What went wrong, and what the caller does next.

use std::fmt;

use crate::time::Timestamp;

/// What the caller of a failed operation does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// This frame (packet, person) is lost: count it and go on.
    Skip,
    /// The device or file went away: close it, wait, reopen; everything else runs on.
    Restart,
    /// It cannot work as configured: stop with [`Exit`]'s code.
    Fatal,
}

impl Severity {
    /// For text and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Restart => "restart",
            Self::Fatal => "fatal",
        }
    }
}

/// An error that knows its [`Severity`]. Every module's error enum implements it.
pub trait Fault: std::error::Error {
    /// What the caller does next.
    fn severity(&self) -> Severity;
}

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, or stopped by a signal after draining.
    Success,
    /// A check found what lessens the poses, and nothing that keeps them from coming.
    Warnings,
    /// The configuration, a model or a source cannot work: starting again will not help
    /// (`EX_CONFIG`; a systemd unit lists it in `RestartPreventExitStatus=`).
    Config,
    /// A bug or an exhausted resource: starting again may help (`EX_SOFTWARE`).
    Internal,
}

impl Exit {
    /// The process's exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Warnings => 1,
            Self::Config => 78,
            Self::Internal => 70,
        }
    }
}

/// An error with everything below it on one line: `what: why: why of that`.
pub struct Chain<'a>(pub &'a dyn std::error::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        write!(f, "{said}")?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            let words = cause.to_string();
            // Many libraries repeat their cause in their own message: say it once.
            if !said.contains(&words) {
                write!(f, ": {words}")?;
                said = words;
            }
            next = cause.source();
        }
        Ok(())
    }
}

/// What a caught panic said.
pub fn panic_words(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without words")
}

/// Lets one of many equal messages through every few seconds and counts the others, so that a
/// fault at camera rate does not fill the journal.
#[derive(Debug, Default)]
pub struct RateLimit {
    last: Option<Timestamp>,
    held_back: u64,
}

impl RateLimit {
    const INTERVAL_S: f64 = 5.0;

    /// May a message be written now? `Some(n)`: yes, and `n` like it were held back before.
    pub fn pass(&mut self, now: Timestamp) -> Option<u64> {
        if self.last.is_some_and(|last| now.secs_since(last) < Self::INTERVAL_S) {
            self.held_back += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_says_each_cause_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot open x")]
        struct Outer(#[source] Middle);
        #[derive(Debug, thiserror::Error)]
        #[error("disk: gone")]
        struct Middle(#[source] Inner);
        #[derive(Debug, thiserror::Error)]
        #[error("gone")]
        struct Inner;
        assert_eq!(Chain(&Outer(Middle(Inner))).to_string(), "cannot open x: disk: gone");
    }

    #[test]
    fn one_message_passes_every_few_seconds_and_says_how_many_were_held_back() {
        let mut limit = RateLimit::default();
        let at = Timestamp::from_secs_f64;
        assert_eq!(limit.pass(at(0.0)), Some(0));
        assert_eq!(limit.pass(at(1.0)), None);
        assert_eq!(limit.pass(at(4.9)), None);
        assert_eq!(limit.pass(at(5.0)), Some(2));
        assert_eq!(limit.pass(at(10.0)), Some(0));
    }
}
