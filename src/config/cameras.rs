//! One camera's settings, and those of several.

use serde::{Deserialize, Serialize};

use super::{
    ASSUMED_FOV_DEGREES, CameraConfig, ConfigError, FOCAL_DOUBT, PublishConfig, SourceConfig,
    within,
};
use crate::calibration::file::CameraFile;
use crate::capture::SourceOptions;
use crate::capture::fault_injector::FaultSettings;
use crate::geodetic::Geodetic;
use crate::lift::{LiftSettings, Mount};
use crate::orientation::Orientation;
use crate::pipeline::Geometry;

/// The most cameras of one process.
pub const MAX_CAMERAS: usize = 32;

/// One of `[[cameras]]`: what `[source]`, `[camera]` and `[[publish]]` say where there is only one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CameraEntry {
    /// What it is called in the log; not given: its number.
    pub name: Option<String>,
    /// Where its frames come from.
    pub source: SourceConfig,
    /// What is known of it.
    pub camera: CameraConfig,
    /// Where its poses go beside the targets that get the poses of all.
    pub publish: Vec<PublishConfig>,
}

/// One camera, checked.
#[derive(Clone, Debug)]
pub struct CameraPlan {
    /// What it is called in the log; empty where there is only one.
    pub name: String,
    /// The source's URI.
    pub source: String,
    /// How it is opened.
    pub options: SourceOptions,
    /// Its geometry.
    pub geometry: Geometry,
    /// How people are lifted in its frames.
    pub lift: LiftSettings,
    /// Where on the earth it stands.
    pub geodetic: Option<Geodetic>,
    /// The URIs of the publishers that get its poses only.
    pub publish: Vec<String>,
}

/// Checks all cameras: `alone`, or `several` if there are any. `lift` is what they share.
pub(super) fn check(
    alone: CameraEntry,
    several: Vec<CameraEntry>,
    lift: &LiftSettings,
) -> Result<Vec<CameraPlan>, ConfigError> {
    if several.is_empty() {
        return Ok(vec![alone.check(0, lift)?]);
    }
    if alone.source != SourceConfig::default() || alone.camera != CameraConfig::default() {
        return Err(ConfigError::Both);
    }
    if several.len() > MAX_CAMERAS {
        return Err(ConfigError::OutOfRange {
            key: "[[cameras]]",
            value: several.len().to_string(),
            wanted: "at most 32 cameras",
        });
    }
    several
        .into_iter()
        .enumerate()
        .map(|(number, mut entry)| {
            let name = entry.name.take().unwrap_or_else(|| format!("camera {number}"));
            let mut plan = entry.check(number as u8, lift).map_err(|problem| {
                ConfigError::Camera { name: name.clone(), problem: Box::new(problem) }
            })?;
            plan.name = name;
            Ok(plan)
        })
        .collect()
}

impl CameraEntry {
    fn check(self, number: u8, lift: &LiftSettings) -> Result<CameraPlan, ConfigError> {
        let Self { name: _, source, mut camera, publish } = self;
        let doubt = camera.take_file_in()?.unwrap_or(FOCAL_DOUBT[0]);
        let orientation = Orientation::new(camera.rotate, camera.mirror)?;
        let mut uri = source.uri.ok_or(ConfigError::NoSource)?;
        if let Some(faults) = &source.faults {
            FaultSettings::parse(faults).map_err(ConfigError::Faults)?;
            uri = format!("faults:{faults}:{uri}");
        }
        if !orientation.is_upright() {
            uri = format!("turned:{orientation}:{uri}");
        }
        within(
            "[source] rate",
            source.rate,
            0.1..=1000.0,
            "must be from 0.1 to 1000 frames per second",
        )?;
        within(
            "[camera] fov_degrees",
            camera.fov_degrees,
            5.0..=170.0,
            "must be from 5 to 170 degrees",
        )?;
        if let Some(mount) = camera.mount {
            let wanted = "must be from -90 to 90 degrees";
            within(
                "[camera] mount.pitch_degrees",
                Some(mount.pitch_degrees),
                -90.0..=90.0,
                wanted,
            )?;
            let wanted = "must be from -180 to 180 degrees";
            within(
                "[camera] mount.roll_degrees",
                Some(mount.roll_degrees),
                -180.0..=180.0,
                wanted,
            )?;
        }
        if let Some(at) = &camera.geodetic {
            place(at)?;
        }
        let (geometry, focal_doubt) = match (camera.intrinsics, camera.fov_degrees) {
            (Some(intrinsics), _) => {
                intrinsics.check()?;
                (Geometry::Calibrated(intrinsics.turned(orientation)), doubt)
            }
            (None, Some(degrees)) => (Geometry::AssumedFov(degrees), FOCAL_DOUBT[1]),
            (None, None) => (Geometry::AssumedFov(ASSUMED_FOV_DEGREES), FOCAL_DOUBT[2]),
        };
        Ok(CameraPlan {
            name: String::new(),
            source: uri,
            options: SourceOptions {
                camera: number,
                rate: source.rate,
                realtime: source.realtime,
                repeat: source.repeat,
                controls: source.controls.into(),
            },
            geometry,
            lift: LiftSettings { mount: camera.mount, focal_doubt, ..*lift },
            geodetic: camera.geodetic,
            publish: publish.into_iter().map(|p| p.uri).collect(),
        })
    }
}

impl CameraConfig {
    /// Reads the calibration's file, if there is one, and says here what it says: the lens and,
    /// where the camera's place is known, how it is held. Gives the deviation of the focal length,
    /// as a share of itself, where the file states one.
    ///
    /// # Errors
    /// If the file cannot be read, or two calibrations are given.
    pub(super) fn take_file_in(&mut self) -> Result<Option<f64>, ConfigError> {
        let Some(path) = self.calibration.take() else { return Ok(None) };
        let file = CameraFile::read(&path)?;
        if self.intrinsics.is_some() {
            return Err(ConfigError::TwoCalibrations);
        }
        self.intrinsics = Some(file.intrinsics);
        if let (None, Some(placed)) = (self.mount, &file.extrinsics) {
            let orientation = Orientation::new(self.rotate, self.mirror)?;
            self.mount = Some(Mount::from_gravity(orientation.direction(placed.gravity())));
        }
        Ok(file.quality.map(|quality| quality.focal_deviation.clamp(1e-3, 0.1)))
    }
}

/// Checks where a camera stands.
fn place(at: &Geodetic) -> Result<(), ConfigError> {
    for (key, value, range, wanted) in [
        // At the poles east has no length.
        (
            "[camera] geodetic.latitude_degrees",
            at.latitude_degrees,
            -89.0..=89.0,
            "must be from -89 to 89 degrees",
        ),
        (
            "[camera] geodetic.longitude_degrees",
            at.longitude_degrees,
            -180.0..=180.0,
            "must be from -180 to 180 degrees",
        ),
        (
            "[camera] geodetic.altitude_metres",
            at.altitude_metres,
            -1e3..=1e5,
            "must be from -1000 to 100000 metres",
        ),
        (
            "[camera] geodetic.heading_degrees",
            at.heading_degrees,
            -360.0..=360.0,
            "must be from -360 to 360 degrees",
        ),
    ] {
        within(key, Some(value), range, wanted)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::pipeline::Geometry;

    const TWO: &str = r#"
        [[cameras]]
        name = "door"
        source = { uri = "v4l2:/dev/v4l/by-path/a", rate = 25 }
        camera = { fov_degrees = 90, mount = { pitch_degrees = -20 } }
        publish = [{ uri = "udp://127.0.0.1:7001" }]
        [[cameras]]
        source = { uri = "v4l2:/dev/v4l/by-path/b" }
        [subject]
        height_m = 1.7
        [[publish]]
        uri = "udp://127.0.0.1:7000"
    "#;

    #[test]
    fn each_camera_has_its_own_number_geometry_mount_and_targets() {
        let plan = Config::from_toml(TWO).unwrap().check().unwrap();
        let [door, other] = plan.cameras.as_slice() else { panic!("two cameras") };
        assert_eq!((door.name.as_str(), door.options.camera), ("door", 0));
        assert_eq!((other.name.as_str(), other.options.camera), ("camera 1", 1));
        assert_eq!(door.geometry, Geometry::AssumedFov(90.0));
        assert!(door.lift.mount.is_some() && other.lift.mount.is_none());
        assert_eq!(other.lift.subject.height_m, Some(1.7), "what is said once is for all");
        assert_eq!(door.publish, ["udp://127.0.0.1:7001"]);
        assert_eq!(plan.publish, ["udp://127.0.0.1:7000"]);
    }

    #[test]
    fn an_error_names_its_camera_and_one_or_several_are_not_both_said() {
        let wrong = TWO.replace("rate = 25", "rate = 0");
        let error = Config::from_toml(&wrong).unwrap().check().unwrap_err();
        assert!(
            error.to_string().contains("door") && error.to_string().contains("rate"),
            "{error}"
        );
        let both = format!("{TWO}\n[source]\nuri = 'demo:'");
        let error = Config::from_toml(&both).unwrap().check().unwrap_err();
        assert!(error.to_string().contains("[[cameras]]"), "{error}");
    }
}
