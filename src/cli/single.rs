//! Commands that look at one camera, and tell nobody: `bench`, `snapshot`.

use std::path::PathBuf;

use clap::Args;

use super::Failure;
use crate::capture::demo::DemoSource;
use crate::config::{CameraEntry, Config};
use crate::lift::Mount;

#[derive(Args, Clone, Debug, Default)]
pub(super) struct Single {
    /// Configuration file (TOML); the options below go before what it says
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Which of the configuration's [[cameras]], by its name
    #[arg(long, value_name = "NAME", requires = "config", conflicts_with = "source")]
    camera: Option<String>,
    /// Where frames come from, as of posewire run [default: demo:]
    #[arg(short, long, value_name = "URI")]
    source: Option<String>,
    /// Directory of models that go before the embedded ones
    #[arg(short, long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// What computes: auto, tract (CPU) or tensorrt (GPU)
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// The camera's field of view along the picture's longer side, where it is not calibrated
    #[arg(long, value_name = "DEGREES")]
    fov: Option<f64>,
}

/// Which camera?
#[derive(Debug, thiserror::Error)]
enum SingleError {
    #[error("this is of one camera at a time: say which with --camera; there are: {0}")]
    Several(String),
    #[error("--camera {name:?}: there is no camera of that name; there are: {known}")]
    Unknown { name: String, known: String },
}

impl Single {
    /// What is asked for: one camera as `[source]` and `[camera]`; targets, recorder and page of
    /// the file are left out.
    pub(super) fn config(&self) -> Result<Config, Failure> {
        let mut config = match &self.config {
            Some(path) => Config::from_file(path).map_err(|e| Failure::config(&e))?,
            None => Config::default(),
        };
        if self.source.is_some() {
            config.cameras.clear();
            config.source.uri.clone_from(&self.source);
        }
        let entries = std::mem::take(&mut config.cameras);
        if let Some(only) =
            pick(entries, self.camera.as_deref()).map_err(|e| Failure::config(&e))?
        {
            (config.source, config.camera) = (only.source, only.camera);
        }
        let uri = config.source.uri.get_or_insert_with(|| "demo:".to_owned());
        let camera = &mut config.camera;
        let known =
            camera.intrinsics.is_some() || camera.calibration.is_some() || self.fov.is_some();
        if uri.starts_with("demo:") && !known {
            camera.intrinsics = Some(DemoSource::intrinsics());
            camera.mount = Some(Mount { pitch_degrees: 0.0, roll_degrees: 0.0 });
        }
        camera.fov_degrees = self.fov.or(camera.fov_degrees);
        config.models.dir = self.models.clone().or(config.models.dir.take());
        config.engine.backend = self.backend.clone().or(config.engine.backend.take());
        config.publish.clear();
        config.record = Default::default();
        config.view = Default::default();
        Ok(config)
    }
}

/// The entry that is meant; `None` if the configuration describes its one camera without a name.
fn pick(entries: Vec<CameraEntry>, name: Option<&str>) -> Result<Option<CameraEntry>, SingleError> {
    // As the log calls those without a name.
    let named = |(number, entry): (usize, &CameraEntry)| {
        entry.name.clone().unwrap_or_else(|| format!("camera {number}"))
    };
    let names: Vec<String> = entries.iter().enumerate().map(named).collect();
    let known = || if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let index = match name {
        None if entries.len() > 1 => return Err(SingleError::Several(known())),
        None => 0,
        Some(name) => names
            .iter()
            .position(|n| n == name)
            .ok_or_else(|| SingleError::Unknown { name: name.to_owned(), known: known() })?,
    };
    Ok(entries.into_iter().nth(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(names: &[Option<&str>]) -> Vec<CameraEntry> {
        let entry = |name: &Option<&str>| CameraEntry {
            name: name.map(str::to_owned),
            ..CameraEntry::default()
        };
        names.iter().map(entry).collect()
    }

    #[test]
    fn one_of_several_cameras_is_taken_by_its_name() {
        let two = || entries(&[Some("door"), None]);
        assert_eq!(pick(two(), Some("door")).unwrap(), Some(two()[0].clone()));
        assert_eq!(pick(two(), Some("camera 1")).unwrap(), Some(two()[1].clone()));
        assert_eq!(pick(entries(&[Some("door")]), None).unwrap(), Some(two()[0].clone()));
        assert_eq!(pick(entries(&[]), None).unwrap(), None);
        let said = |entries, name| pick(entries, name).unwrap_err().to_string();
        assert!(said(two(), None).ends_with("say which with --camera; there are: door, camera 1"));
        assert!(said(two(), Some("gate")).ends_with("there are: door, camera 1"));
        assert!(said(entries(&[]), Some("gate")).ends_with("there are: none"));
    }

    #[test]
    fn nothing_of_a_configuration_but_its_camera_is_used() {
        let file =
            std::env::temp_dir().join(format!("posewire-single-{}.toml", std::process::id()));
        std::fs::write(
            &file,
            "publish = [{ uri = \"udp://127.0.0.1:1\" }]\n[view]\nlisten = \"127.0.0.1:1\"\n\
             [[cameras]]\nname = \"a\"\nsource = { uri = \"demo:\" }\n\
             publish = [{ uri = \"udp://127.0.0.1:2\" }]\n\
             [[cameras]]\nname = \"b\"\nsource = { uri = \"demo:3\" }\ncamera = { fov_degrees = 90 }\n",
        )
        .unwrap();
        let ask =
            Single { config: Some(file.clone()), camera: Some("b".into()), ..Single::default() };
        let config = ask.config().unwrap();
        std::fs::remove_file(file).unwrap();
        assert_eq!(config.source.uri.as_deref(), Some("demo:3"));
        let plan = config.check().unwrap();
        assert!(plan.publish.is_empty() && plan.view.listen.is_none());
        assert!(plan.cameras.len() == 1 && plan.cameras[0].publish.is_empty());
    }
}
