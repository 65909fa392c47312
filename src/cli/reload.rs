//! A changed configuration for a run that goes on (SIGHUP).
//!
//! What concerns the way from pixels to poses is taken over by a new pipeline, made beside the
//! running one. What concerns devices, targets and packets needs a new start, and is said to. A
//! configuration that cannot be run changes nothing.

use std::sync::{Arc, Mutex, PoisonError};

use toml::Table;

use super::{Failure, start};
use crate::config::Config;
use crate::engine::exchange::Exchange;
use crate::fault::Exit;
use crate::pipeline::Pipeline;
use crate::runtime::Reason;
use crate::service::Notifier;
use crate::time::Clock;

/// Tables that are taken over; of `[camera]` only these keys: the others are in packets' headers
/// as well, which are not renewed.
const TABLES: &[&str] = &["models", "detector", "tracker", "lift", "subject", "smooth"];
const CAMERA: &[&str] = &["fov_degrees", "intrinsics"];

/// How the last reload went, for those who ask.
pub(super) type Said = Arc<Mutex<Option<String>>>;

/// Reads the configuration again and makes what can be taken over.
pub(super) struct Reloader {
    pub(super) read: Box<dyn Fn() -> Result<Config, Failure> + Send>,
    /// What is running.
    pub(super) now: Config,
    /// What the networks of new pipelines may change over to, too.
    pub(super) exchange: Option<Exchange>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) notifier: Arc<Notifier>,
    pub(super) said: Said,
}

impl Reloader {
    /// The pipelines of the changed configuration, if anything changed that can be taken over.
    pub(super) fn make(&mut self, reason: Reason) -> Option<Vec<Pipeline>> {
        if reason == Reason::Panicked {
            return self.build(&self.now).inspect_err(|e| log::error!("{}", e.message)).ok();
        }
        self.notifier.reloading();
        let made = self.reload();
        let words = match &made {
            Ok((words, _)) => {
                log::info!("reload: {words}");
                words.clone()
            }
            Err(failure) => {
                let words = format!("refused, all stays as it was: {}", failure.message);
                log::error!("reload {words}");
                words
            }
        };
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = Some(words);
        self.notifier.ready();
        made.ok().and_then(|(_, pipelines)| pipelines)
    }

    fn reload(&mut self) -> Result<(String, Option<Vec<Pipeline>>), Failure> {
        let new = (self.read)()?;
        // All of it must be able to run, also what waits for a new start.
        new.clone().check().map_err(|e| Failure::config(&e))?;
        let merged = merge(&self.now, &new)?;
        let restart = match merged.restart.as_slice() {
            [] => String::new(),
            keys => format!("; {} needs a new start (systemctl restart)", keys.join(", ")),
        };
        if merged.taken.is_empty() {
            return Ok((format!("nothing changed that can be taken over{restart}"), None));
        }
        let pipelines = self.build(&merged.config)?;
        self.now = merged.config;
        Ok((format!("{} taken over{restart}", merged.taken.join(", ")), Some(pipelines)))
    }

    fn build(&self, config: &Config) -> Result<Vec<Pipeline>, Failure> {
        let plan = config.clone().check().map_err(|e| Failure::config(&e))?;
        let plan = start::settled(plan, self.exchange.as_ref());
        start::pipelines(&plan, self.exchange.as_ref(), &self.clock)
    }
}

/// What a reload makes of two configurations.
struct Merged {
    /// The old one with what can be taken over of the new one.
    config: Config,
    taken: Vec<String>,
    restart: Vec<String>,
}

fn merge(old: &Config, new: &Config) -> Result<Merged, Failure> {
    let lost = |e: &dyn std::error::Error| Failure::new(Exit::Internal, e);
    let mut now = Table::try_from(old).map_err(|e| lost(&e))?;
    let mut new = Table::try_from(new).map_err(|e| lost(&e))?;
    let (mut taken, mut restart) = (Vec::new(), Vec::new());
    let camera =
        |of: &Table| of.get("camera").and_then(toml::Value::as_table).cloned().unwrap_or_default();
    let (mut merged, wanted) = (camera(&now), camera(&new));
    take(&mut merged, &wanted, "camera.", |key| CAMERA.contains(&key), &mut taken, &mut restart);
    // Decided key by key: as a whole it does not differ any more.
    for table in [&mut now, &mut new] {
        table.insert("camera".into(), merged.clone().into());
    }
    take(&mut now, &new, "", |key| TABLES.contains(&key), &mut taken, &mut restart);
    let config = now.try_into().map_err(|e: toml::de::Error| lost(&e))?;
    Ok(Merged { config, taken, restart })
}

/// Brings the keys of `old` to those of `new` where `may` says so, and tells of all that differ.
fn take(
    old: &mut Table,
    new: &Table,
    prefix: &str,
    may: impl Fn(&str) -> bool,
    taken: &mut Vec<String>,
    restart: &mut Vec<String>,
) {
    let mut keys: Vec<String> = old.keys().chain(new.keys()).cloned().collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        if old.get(&key) == new.get(&key) {
            continue;
        }
        let name = format!("[{prefix}{key}]");
        if !may(&key) {
            restart.push(name);
            continue;
        }
        match new.get(&key) {
            Some(value) => old.insert(key, value.clone()),
            None => old.remove(&key),
        };
        taken.push(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(old: &str, new: &str) -> Merged {
        let read = |text| Config::from_toml(text).unwrap();
        merge(&read(old), &read(new)).map_err(|f| f.message).unwrap()
    }

    const OLD: &str = "[source]\nuri='demo:'\n[smooth]\nbeta=3.0\n[camera]\nfov_degrees=60.0";

    #[test]
    fn what_concerns_poses_is_taken_over_and_what_concerns_devices_waits() {
        let m = merged(
            OLD,
            "[source]\nuri='other:'\n[smooth]\nbeta=9.0\n[camera]\nfov_degrees=70.0\n\
             mount={pitch_degrees=-5.0}\n[[publish]]\nuri='jsonl:-'",
        );
        assert_eq!(m.taken, ["[camera.fov_degrees]", "[smooth]"]);
        assert_eq!(m.restart, ["[camera.mount]", "[publish]", "[source]"]);
        assert_eq!(m.config.source.uri.as_deref(), Some("demo:"));
        assert_eq!(m.config.smooth.beta, 9.0);
        assert_eq!(m.config.camera.fov_degrees, Some(70.0));
        assert_eq!((m.config.camera.mount, m.config.publish.len()), (None, 0));
    }

    #[test]
    fn a_key_that_is_gone_goes_back_to_its_default() {
        let m = merged(OLD, "[source]\nuri='demo:'");
        assert_eq!(m.taken, ["[camera.fov_degrees]"]);
        assert_eq!(m.config.camera.fov_degrees, None);
    }

    #[test]
    fn the_same_configuration_changes_nothing() {
        let m = merged(OLD, OLD);
        assert!(m.taken.is_empty() && m.restart.is_empty());
    }
}
