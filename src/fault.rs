//! What went wrong, and what the caller does next.

use std::fmt;

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
}
