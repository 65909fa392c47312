//! What the user may say about lifting, as written and as checked against the model.

use serde::{Deserialize, Serialize};

use crate::engine::spec::LifterSpec;
use crate::engine::{EngineError, ModelSpec};

use super::root::BodyScale;
use super::smooth::SmoothSettings;

/// `[lift]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LifterSettings {
    /// Milliseconds of future that a pose waits for; the model's usual number if absent. It must
    /// be one that the model serves.
    pub lookahead_ms: Option<f64>,
    /// Publish every pose a second time, with so much future. Not done if absent.
    pub refine_ms: Option<f64>,
    /// Draw bones towards the lengths that they have had so far: of use to lifters that were not
    /// trained to keep them.
    pub steady_bones: bool,
}

/// `[subject]`: what is known of the people in view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SubjectSettings {
    /// Their height, metres; an adult's of unknown height if absent.
    pub height_m: Option<f64>,
}

/// The camera's attitude relative to gravity, to a few degrees.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Degrees that the camera looks up.
    #[serde(default)]
    pub pitch_degrees: f64,
    /// Degrees that the camera is turned clockwise about its own viewing direction.
    #[serde(default)]
    pub roll_degrees: f64,
}

impl Mount {
    /// The direction in which things fall, in the camera frame; a unit vector.
    pub fn gravity(self) -> [f64; 3] {
        let (p, q) = (self.pitch_degrees.to_radians(), self.roll_degrees.to_radians());
        [q.sin() * p.cos(), q.cos() * p.cos(), -p.sin()]
    }

    /// How a camera is held in whose frame things fall in the direction of `down` (a unit vector).
    pub fn from_gravity(down: [f64; 3]) -> Self {
        let [x, y, z] = down;
        Self {
            pitch_degrees: (-z).clamp(-1.0, 1.0).asin().to_degrees(),
            roll_degrees: x.atan2(y).to_degrees(),
        }
    }
}

/// Everything that the lifter is told.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LiftSettings {
    /// How the camera is held: lets the lifter tell a leaning body from a leaning camera.
    /// Unknown if absent.
    pub mount: Option<Mount>,
    /// Smoothing over time.
    pub smooth: SmoothSettings,
    /// How far ahead it may look, and so on.
    pub lifter: LifterSettings,
    /// Who is in view.
    pub subject: SubjectSettings,
    /// Standard deviation of the camera's focal length, as a share of itself: 0 for an exact
    /// calibration. Depth is proportional to it.
    pub focal_doubt: f64,
}

/// The same, checked against the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Settings {
    pub(super) gravity: Option<[f64; 3]>,
    pub(super) smooth: SmoothSettings,
    /// Slots.
    pub(super) lookahead: u32,
    /// Slots.
    pub(super) refine: Option<u32>,
    pub(super) steady_bones: bool,
    pub(super) scale: BodyScale,
    pub(super) focal_doubt: f64,
}

impl LiftSettings {
    pub(super) fn check(&self, model: &ModelSpec) -> Result<Settings, EngineError> {
        let spec = model.lifter()?;
        let LifterSettings { lookahead_ms, refine_ms, steady_bones } = self.lifter;
        let lookahead = match lookahead_ms {
            Some(ms) => slots(model, spec, "lookahead", ms)?,
            None => spec.lookahead,
        };
        let refine = refine_ms.map(|ms| slots(model, spec, "refine", ms)).transpose()?;
        if refine.is_some_and(|slots| slots <= lookahead) {
            return Err(model.problem(format!(
                "a revision with {} ms of future is asked for where the pose itself waits for {} \
                 ms; ask for more, or leave [lift] refine_ms out",
                refine_ms.unwrap_or_default(),
                ms(spec, lookahead)
            )));
        }
        Ok(Settings {
            gravity: self.mount.map(Mount::gravity),
            smooth: self.smooth,
            lookahead,
            refine,
            steady_bones,
            scale: BodyScale::new(self.subject.height_m, spec.body_height_m),
            focal_doubt: self.focal_doubt,
        })
    }
}

fn ms(spec: &LifterSpec, slots: u32) -> f64 {
    (f64::from(slots) / spec.rate_hz * 1e6).round() / 1e3
}

fn slots(
    model: &ModelSpec,
    spec: &LifterSpec,
    what: &str,
    asked_ms: f64,
) -> Result<u32, EngineError> {
    let found = spec.lookaheads.iter().find(|k| (ms(spec, **k) - asked_ms).abs() < 0.5);
    found.copied().ok_or_else(|| {
        let served: Vec<_> = spec.lookaheads.iter().map(|k| ms(spec, *k).to_string()).collect();
        model.problem(format!(
            "a {what} of {asked_ms} ms is asked for; it serves {} (milliseconds)",
            served.join(", ")
        ))
    })
}
