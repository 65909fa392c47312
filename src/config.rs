//! What is to be run, in two steps: as the user wrote it ([`Config`]), and checked ([`Plan`]).
//!
//! Each setting's struct lives in the module that uses it; here they are only put together.
//! Unknown keys are refused, because a misspelt key that is ignored is a setting that silently
//! does not hold.

mod cameras;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::camera::{Intrinsics, IntrinsicsError};
use crate::capture::v4l2::controls::ControlValue;
use crate::degrade::DegradeSettings;
use crate::detect::DetectorSettings;
use crate::engine::Precision;
use crate::engine::catalog::DetectorNames;
use crate::geodetic::Geodetic;
use crate::lift::smooth::SmoothSettings;
use crate::lift::{LiftSettings, LifterSettings, Mount, SubjectSettings};
use crate::orientation::OrientationError;
use crate::record::{RecordError, RecordSettings};
use crate::track::TrackSettings;
use crate::view::ViewSettings;
use crate::wire::ClockState;

pub use cameras::{CameraEntry, CameraPlan, MAX_CAMERAS};

/// A configuration as it is written in a file or on the command line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where frames come from.
    pub source: SourceConfig,
    /// What is known of the camera.
    pub camera: CameraConfig,
    /// Several cameras, instead of `source` and `camera`.
    pub cameras: Vec<CameraEntry>,
    /// Which networks.
    pub models: ModelsConfig,
    /// On what they run.
    pub engine: EngineConfig,
    /// Finding people.
    pub detector: DetectorSettings,
    /// Following them.
    pub tracker: TrackSettings,
    /// Lifting them.
    pub lift: LifterSettings,
    /// Who they are.
    pub subject: SubjectSettings,
    /// Smoothing their joints over time.
    pub smooth: SmoothSettings,
    /// What is seen and said, into files.
    pub record: RecordSettings,
    /// What is left out when the machine cannot keep up.
    pub degrade: DegradeSettings,
    /// What this machine's time is worth.
    pub clock: ClockConfig,
    /// The live page.
    pub view: ViewSettings,
    /// Where poses go.
    pub publish: Vec<PublishConfig>,
}

/// `[clock]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClockConfig {
    /// How the realtime clock is disciplined; not given or `unknown`: found out as far as can be.
    pub state: ClockState,
}

/// `[source]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourceConfig {
    /// `demo:`, a file, a directory of pictures, `v4l2:/dev/...`.
    pub uri: Option<String>,
    /// Frames per second, instead of a recording's own times or a camera's default.
    pub rate: Option<f64>,
    /// Play a recording at its own speed.
    pub realtime: bool,
    /// Start a recording again at its end.
    pub repeat: bool,
    /// Faults on purpose, for a rehearsal: `drop=0.05,unplug_every=900`.
    pub faults: Option<String>,
    /// A camera's controls by the names that `posewire devices` shows: `gain = 20`.
    pub controls: BTreeMap<String, ControlValue>,
}

/// `[camera]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CameraConfig {
    /// Field of view along the picture's longer side, degrees, where there is no calibration.
    pub fov_degrees: Option<f64>,
    /// A calibration.
    pub intrinsics: Option<Intrinsics>,
    /// A file of `posewire calibrate`, or of OpenCV, ROS or Kalibr; relative to the configuration.
    pub calibration: Option<PathBuf>,
    /// Degrees clockwise by which its pictures are turned to be upright: 0, 90, 180, 270. The
    /// calibration is that of the picture before.
    pub rotate: u32,
    /// Its pictures are mirrored left to right, before they are turned.
    pub mirror: bool,
    /// How the camera is held.
    pub mount: Option<Mount>,
    /// Where on the earth it stands.
    pub geodetic: Option<Geodetic>,
}

/// `[models]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelsConfig {
    /// A directory of models that go before the embedded ones.
    pub dir: Option<PathBuf>,
    /// Name of the person finder, where there are several.
    pub finder: Option<String>,
    /// Name of the keypoint network, where there are several.
    pub keypoints: Option<String>,
    /// Name of a one-stage network, instead of a finder and a keypoint network.
    pub one_stage: Option<String>,
    /// Name of the lifter, where there are several.
    pub lifter: Option<String>,
}

impl ModelsConfig {
    /// The names that say what the detector is made of.
    pub fn detector(&self) -> DetectorNames<'_> {
        DetectorNames {
            finder: self.finder.as_deref(),
            keypoints: self.keypoints.as_deref(),
            one_stage: self.one_stage.as_deref(),
        }
    }
}

/// `[engine]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineConfig {
    /// `auto` (best effort, says what it chose), `tract` or `tensorrt` (strict).
    pub backend: Option<String>,
    /// Arithmetic of the networks; tract computes in `f32` only.
    pub precision: Option<PrecisionChoice>,
}

/// A precision as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrecisionChoice {
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point.
    F16,
    /// 8 bits, for lifters.
    Int8,
    /// The fastest that is right, found out on the device.
    Auto,
}

/// One `[[publish]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishConfig {
    /// Where to: `udp://host:port`, ...
    pub uri: String,
}

/// A configuration that cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration {path}: cannot be read: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not a configuration.
    #[error("configuration {path}: {problem}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Where and what.
        problem: String,
    },
    /// Nothing says where frames come from.
    #[error(
        "no source: say where frames come from with --source URI, or uri = \"...\" under [source] \
         in the configuration (try --source demo:)"
    )]
    NoSource,
    /// One camera and several are described at once.
    #[error("give either [source] and [camera], or [[cameras]]: not both")]
    Both,
    /// One of several cameras cannot be used so.
    #[error("[[cameras]] {name}: {problem}")]
    Camera {
        /// What it is called.
        name: String,
        /// What is wrong.
        problem: Box<ConfigError>,
    },
    /// A value is out of its range.
    #[error("{key} = {value}: {wanted}")]
    OutOfRange {
        /// The key, with its table.
        key: &'static str,
        /// As given.
        value: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// The calibration cannot belong to a camera.
    #[error("[camera] {0}")]
    Intrinsics(#[from] IntrinsicsError),
    /// The calibration cannot be read.
    #[error("[camera] {0}")]
    Calibration(#[from] crate::calibration::file::FileError),
    /// Faults that are none.
    #[error("[source] faults: {0}")]
    Faults(String),
    /// Pictures cannot be turned so.
    #[error("[camera] rotate: {0}")]
    Orientation(#[from] OrientationError),
    /// Two calibrations.
    #[error("[camera] has intrinsics and a calibration: which one holds?")]
    TwoCalibrations,
    /// The recorder cannot work so.
    #[error("{0}")]
    Record(#[from] RecordError),
}

/// What will be run: everything is present and within its range.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where frames come from: at least one.
    pub cameras: Vec<CameraPlan>,
    /// Which networks.
    pub models: ModelsConfig,
    /// `auto`, `tract` or `tensorrt`.
    pub backend: String,
    /// Arithmetic of the networks.
    pub precision: Precision,
    /// Instead, on a GPU, that which is the fastest one there and right, for each network.
    pub fastest_precision: bool,
    /// Finding people.
    pub detector: DetectorSettings,
    /// Following them.
    pub tracker: TrackSettings,
    /// Recording.
    pub record: RecordSettings,
    /// Degradation on purpose.
    pub degrade: DegradeSettings,
    /// The live page.
    pub view: ViewSettings,
    /// Whether another port will do where the one that is named is taken.
    pub view_may_move: bool,
    /// How the realtime clock is disciplined.
    pub clock_state: ClockState,
    /// The URIs of the publishers that get the poses of all cameras.
    pub publish: Vec<String>,
    /// What was asked for, as TOML: a recording says how it was made.
    pub written: String,
}

/// Field of view that is assumed, and said to be assumed, where nothing is known: a common webcam.
pub const ASSUMED_FOV_DEGREES: f64 = 65.0;

/// Deviations of the focal length, as shares of itself: of a calibration, of a stated field of
/// view (which is read off a data sheet), of the assumed one (webcams span 50 to 80 degrees).
const FOCAL_DOUBT: [f64; 3] = [0.005, 0.03, 0.15];

impl Config {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// Names the file, the key and the line.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let mut config = Self::from_toml(&text)
            .map_err(|problem| ConfigError::Parse { path: path.to_owned(), problem })?;
        // A service's working directory is nowhere in particular.
        let Some(folder) = path.parent() else { return Ok(config) };
        let several = config.cameras.iter_mut().map(|entry| &mut entry.camera);
        for camera in several.chain([&mut config.camera]) {
            if let Some(file) = &mut camera.calibration {
                *file = folder.join(&*file);
            }
        }
        Ok(config)
    }

    /// Reads a configuration.
    ///
    /// # Errors
    /// Says where and what, in words.
    pub fn from_toml(text: &str) -> Result<Self, String> {
        let document =
            toml::Deserializer::parse(text).map_err(|e| e.to_string().trim().to_owned())?;
        serde_path_to_error::deserialize(document).map_err(|e| {
            let at = e.path().to_string();
            let words = e.into_inner().to_string();
            if at == "." { words.trim().to_owned() } else { format!("{at}: {}", words.trim()) }
        })
    }

    /// Checks everything that can be checked without touching a device; reads the calibration.
    ///
    /// # Errors
    /// Names the first setting that cannot hold.
    pub fn check(self) -> Result<Plan, ConfigError> {
        // A recording outlives the calibrations' files.
        let mut recorded = self.clone();
        let several = recorded.cameras.iter_mut().map(|entry| &mut entry.camera);
        for camera in several.chain([&mut recorded.camera]) {
            camera.take_file_in()?;
        }
        // For the record only: what cannot be written down is no reason not to run.
        let written = toml::to_string(&recorded).unwrap_or_default();
        let Config {
            source,
            camera,
            cameras,
            models,
            engine,
            detector,
            tracker,
            lift,
            subject,
            smooth,
            degrade,
            clock,
            record,
            view,
            publish,
        } = self;
        let wanted = "must be from 0 to 60 seconds";
        within("[tracker] lost_seconds", Some(tracker.lost_seconds), 0.0..=60.0, wanted)?;
        within("[tracker] coast_seconds", Some(tracker.coast_seconds), 0.0..=60.0, wanted)?;
        let wanted = "must be from 0 to 60000 milliseconds";
        within("[lift] lookahead_ms", lift.lookahead_ms, 0.0..=60_000.0, wanted)?;
        within("[lift] refine_ms", lift.refine_ms, 0.0..=60_000.0, wanted)?;
        let wanted = "must be from 0.4 to 2.6 metres";
        within("[subject] height_m", subject.height_m, 0.4..=2.6, wanted)?;
        let wanted = "must be from 0.01 to 100 Hz";
        within("[smooth] min_cutoff_hz", Some(smooth.min_cutoff_hz), 0.01..=100.0, wanted)?;
        let wanted = "must be from 0 to 1000";
        within("[smooth] beta", Some(smooth.beta), 0.0..=1000.0, wanted)?;
        let wanted = "must be from 40 to 120 degrees Celsius";
        within("[degrade] max_celsius", Some(degrade.max_celsius), 40.0..=120.0, wanted)?;
        let wanted = "must be from 0.1 to 1000 frames per second";
        within("[degrade] min_fps", Some(degrade.min_fps), 0.1..=1000.0, wanted)?;
        record.check()?;
        let lift = LiftSettings { lifter: lift, subject, smooth, ..LiftSettings::default() };
        let alone = CameraEntry { source, camera, ..CameraEntry::default() };
        Ok(Plan {
            cameras: cameras::check(alone, cameras, &lift)?,
            models,
            precision: match engine.precision {
                None | Some(PrecisionChoice::F32 | PrecisionChoice::Auto) => Precision::F32,
                Some(PrecisionChoice::F16) => Precision::F16,
                Some(PrecisionChoice::Int8) => Precision::I8,
            },
            fastest_precision: engine.precision == Some(PrecisionChoice::Auto),
            backend: engine.backend.unwrap_or_else(|| "auto".to_owned()),
            detector,
            tracker,
            record,
            degrade,
            view,
            view_may_move: false,
            clock_state: clock.state,
            publish: publish.into_iter().map(|p| p.uri).collect(),
            written,
        })
    }
}

fn within(
    key: &'static str,
    value: Option<f64>,
    range: std::ops::RangeInclusive<f64>,
    wanted: &'static str,
) -> Result<(), ConfigError> {
    match value {
        // NaN is in no range.
        Some(v) if !range.contains(&v) => {
            Err(ConfigError::OutOfRange { key, value: v.to_string(), wanted })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibration::file::CameraFile;
    use crate::pipeline::Geometry;

    #[test]
    fn a_full_configuration_becomes_a_plan() {
        let plan = Config::from_toml(
            r#"
            [source]
            uri = "v4l2:/dev/video0"
            rate = 60
            [camera]
            intrinsics = { width = 640, height = 480, fx = 500, fy = 500, cx = 319.5, cy = 239.5 }
            mount = { pitch_degrees = -10 }
            [models]
            dir = "models"
            [engine]
            backend = "tract"
            [tracker]
            birth_frames = 3
            [lift]
            lookahead_ms = 120
            [subject]
            height_m = 1.80
            [clock]
            state = "ptp"
            [[publish]]
            uri = "udp://127.0.0.1:7777"
            [[publish]]
            uri = "udp://[::1]:7778"
            "#,
        )
        .unwrap()
        .check()
        .unwrap();
        let [camera] = plan.cameras.as_slice() else { panic!("one camera") };
        assert_eq!(camera.options.rate, Some(60.0));
        assert_eq!(plan.publish.len(), 2);
        assert_eq!(plan.clock_state, ClockState::Ptp);
        assert_eq!(plan.tracker.birth_frames, 3);
        assert_eq!(plan.tracker.lost_seconds, TrackSettings::default().lost_seconds);
        assert!(matches!(camera.geometry, Geometry::Calibrated(i) if i.fx == 500.0));
        assert_eq!(camera.lift.mount.unwrap().pitch_degrees, -10.0);
        assert_eq!(camera.lift.lifter.lookahead_ms, Some(120.0));
        assert_eq!(camera.lift.subject.height_m, Some(1.80));
        assert!(camera.lift.focal_doubt < 0.01, "it is calibrated");
    }

    #[test]
    fn a_precision_is_one_or_the_fastest_that_is_right() {
        let plan = |precision: &str| {
            let text = format!("[source]\nuri='demo:'\n[engine]\nprecision='{precision}'");
            Config::from_toml(&text).map(|config| config.check().unwrap())
        };
        for (name, precision, fastest) in [
            ("f32", Precision::F32, false),
            ("f16", Precision::F16, false),
            ("int8", Precision::I8, false),
            ("auto", Precision::F32, true),
        ] {
            let plan = plan(name).unwrap();
            assert_eq!((plan.precision, plan.fastest_precision), (precision, fastest), "{name}");
            // What is recorded says it again.
            assert!(plan.written.contains(&format!("precision = \"{name}\"")), "{}", plan.written);
        }
        assert!(plan("f8").unwrap_err().contains("f16"));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_table_and_those_that_exist() {
        let problem = Config::from_toml("[source]\nurl = \"demo:\"\n").unwrap_err();
        assert!(problem.contains("source") && problem.contains("url"), "{problem}");
        assert!(problem.contains("uri"), "{problem}");
    }

    #[test]
    fn a_wrong_type_is_named_with_its_key() {
        let problem =
            Config::from_toml("[source]\nuri = \"demo:\"\nrate = \"fast\"\n").unwrap_err();
        assert!(problem.contains("source.rate") && problem.contains("fast"), "{problem}");
    }

    #[test]
    fn text_that_is_not_toml_is_refused_with_its_line() {
        let problem = Config::from_toml("[source\n").unwrap_err();
        assert!(problem.contains("line 1"), "{problem}");
    }

    #[test]
    fn values_out_of_range_are_named() {
        for (text, key) in [
            ("[source]\nuri='demo:'\nrate=0", "rate"),
            ("[source]\nuri='demo:'\nrate=nan", "rate"),
            ("[source]\nuri='demo:'\n[camera]\nfov_degrees=180", "fov_degrees"),
            ("[source]\nuri='demo:'\n[camera]\nmount={pitch_degrees=120}", "pitch_degrees"),
            ("[source]\nuri='demo:'\n[tracker]\nlost_seconds=-1", "lost_seconds"),
            ("[source]\nuri='demo:'\n[smooth]\nmin_cutoff_hz=0", "min_cutoff_hz"),
            ("[source]\nuri='demo:'\n[lift]\nlookahead_ms=-40", "lookahead_ms"),
            ("[source]\nuri='demo:'\n[subject]\nheight_m=175", "height_m"),
        ] {
            let error = Config::from_toml(text).unwrap().check().unwrap_err();
            assert!(error.to_string().contains(key), "{error}");
        }
    }

    #[test]
    fn without_a_source_the_error_says_how_to_give_one() {
        let error = Config::default().check().unwrap_err();
        assert!(error.to_string().contains("--source"));
    }

    #[test]
    fn a_calibration_file_is_found_beside_the_configuration_and_brings_the_mount() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("posewire.toml");
        let text = "[source]\nuri='demo:'\n[camera]\ncalibration='calib/front.toml'\n";
        fs::write(&path, text).unwrap();
        let error = Config::from_file(&path).unwrap().check().unwrap_err();
        assert!(error.to_string().contains("calib/front.toml"), "{error}");

        // A quarter of a circle about x: looks along the world's y, level.
        let half = std::f64::consts::FRAC_1_SQRT_2;
        let file = CameraFile {
            camera: "front".into(),
            origin: String::new(),
            intrinsics: Intrinsics::from_fov(640, 480, 60.0),
            quality: None,
            extrinsics: Some(crate::calibration::pose::Extrinsics {
                frame: "world".into(),
                translation: [0.0, 0.0, 1.5],
                rotation: [half, -half, 0.0, 0.0],
            }),
        };
        file.write(&folder.path().join("calib/front.toml")).unwrap();
        let plan = Config::from_file(&path).unwrap().check().unwrap();
        let [camera] = plan.cameras.as_slice() else { panic!("one camera") };
        assert_eq!(camera.geometry, Geometry::Calibrated(file.intrinsics));
        // What is recorded holds without the file.
        let again = Config::from_toml(&plan.written).unwrap().check().unwrap();
        let [second] = again.cameras.as_slice() else { panic!("one camera") };
        assert_eq!((second.geometry, second.lift.mount), (camera.geometry, camera.lift.mount));
        assert_eq!(camera.lift.focal_doubt, FOCAL_DOUBT[0]);
        let mount = camera.lift.mount.unwrap();
        assert!(mount.pitch_degrees.abs() < 1e-9 && mount.roll_degrees.abs() < 1e-9, "{mount:?}");

        let both = format!(
            "{text}intrinsics = {{ width = 640, height = 480, fx = 1, fy = 1, cx = 0, cy = 0 }}"
        );
        fs::write(&path, both).unwrap();
        let error = Config::from_file(&path).unwrap().check().unwrap_err();
        assert!(matches!(error, ConfigError::TwoCalibrations));
    }

    #[test]
    fn turned_pictures_and_rehearsed_faults_wrap_the_source_and_turn_the_calibration() {
        let text = "[source]\nuri='demo:'\nfaults='drop=0.1,seed=3'\n[camera]\nrotate=90\n\
            mirror=true\nintrinsics = { width = 640, height = 480, fx = 500, fy = 510, cx = 300, \
            cy = 200 }";
        let plan = Config::from_toml(text).unwrap().check().unwrap();
        let [camera] = plan.cameras.as_slice() else { panic!("one camera") };
        assert_eq!(camera.source, "turned:90,mirror:faults:drop=0.1,seed=3:demo:");
        let Geometry::Calibrated(lens) = camera.geometry else { panic!("calibrated") };
        assert_eq!((lens.width, lens.height, lens.fx, lens.fy), (480, 640, 510.0, 500.0));
        assert_eq!((lens.cx, lens.cy), (279.0, 339.0));

        let wrong = "[source]\nuri='demo:'\n[camera]\nrotate=45";
        let error = Config::from_toml(wrong).unwrap().check().unwrap_err().to_string();
        assert!(error.contains("rotate") && error.contains("90"), "{error}");
        let wrong = "[source]\nuri='demo:'\nfaults='drip=1'";
        let error = Config::from_toml(wrong).unwrap().check().unwrap_err().to_string();
        assert!(error.contains("faults") && error.contains("drip"), "{error}");
    }

    #[test]
    fn impossible_intrinsics_are_refused() {
        let text = "[source]\nuri='demo:'\n[camera]\n\
            intrinsics = { width = 640, height = 480, fx = -1, fy = 500, cx = 0, cy = 0 }";
        let error = Config::from_toml(text).unwrap().check().unwrap_err();
        assert!(error.to_string().contains("fx"), "{error}");
    }
}
