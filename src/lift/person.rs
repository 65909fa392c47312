//! What is kept of one person, and how a network's answer becomes a pose of theirs.

use crate::engine::spec::{LifterSpec, Normalisation};
use crate::pose::Pose3d;
use crate::skeleton::{JOINTS, coco};
use crate::time::Timestamp;

use super::Settings;
use super::bones::Bones;
use super::plausibility::plausibility;
use super::refine::{Answer, Refiner};
use super::root::{full_covariance, locate};
use super::root_filter::RootFilter;
use super::smooth::Smoother;
use super::window::{Change, Rays, Window};

/// What has been computed for a window's slots.
pub(super) struct Cache {
    /// `[T][slot_len]`: slot 0, and then the grid slots where the window keeps them.
    pub(super) values: Vec<f32>,
    /// Grid slots, newest first, that have come in since.
    pub(super) new: usize,
    /// Nothing of it holds any more.
    pub(super) stale: bool,
}

/// One person.
pub(super) struct Past {
    pub(super) window: Window,
    pub(super) cache: Cache,
    /// The observation that was last lifted, and the pose that it gave.
    pub(super) lifted: Option<(Timestamp, Pose3d)>,
    smoother: Smoother,
    root: RootFilter,
    bones: Bones,
    refiner: Refiner,
}

impl Past {
    pub(super) fn new(spec: &LifterSpec, settings: &Settings, slot_len: usize) -> Self {
        let anchored = spec.normalisation == Normalisation::AnchoredVirtualCamera;
        Self {
            window: Window::new(spec.frames, spec.rate_hz, anchored),
            cache: Cache { values: vec![0.0; spec.frames * slot_len], new: 0, stale: true },
            lifted: None,
            smoother: Smoother::default(),
            root: RootFilter::default(),
            bones: Bones::default(),
            refiner: Refiner::new(settings.refine.unwrap_or(0), 1.0 / spec.rate_hz),
        }
    }

    pub(super) fn clear(&mut self) {
        self.window.clear();
        self.forget();
        self.bones.reset();
    }

    /// The past is another one, the person is not.
    fn forget(&mut self) {
        self.cache.stale = true;
        self.lifted = None;
        self.smoother.reset();
        self.root.reset();
        self.refiner.clear();
    }

    /// What an observation changed, as the window says.
    pub(super) fn note(&mut self, change: Change) {
        match change {
            Change::None => {}
            Change::Slots(n) => self.cache.new += n,
            Change::Camera => self.cache.stale = true,
            Change::All => self.forget(),
        }
    }

    /// The cached slots, newest first.
    pub(super) fn gather(&self, slot_len: usize, slots: &mut [f32]) {
        let (first, grid) = self.cache.values.split_at(slot_len);
        // Slot 1's row of the grid; from there on, around the end.
        let (old, new) = grid.split_at((self.window.row(1) - 1) * slot_len);
        let mut rest = slots;
        for part in [first, new, old] {
            let (to, behind) = rest.split_at_mut(part.len());
            to.copy_from_slice(part);
            rest = behind;
        }
    }

    /// The network's answer in the camera's axes, metres, relative to the pelvis.
    pub(super) fn to_camera(&self, joints: &[f32], settings: &Settings) -> [[f64; 3]; JOINTS] {
        std::array::from_fn(|j| {
            let relative = |k: usize| f64::from(joints[3 * j + k] - joints[k]);
            let virtual_joint = std::array::from_fn(relative);
            let turned = self.window.camera().map(|c| c.rotate_back(virtual_joint));
            turned.unwrap_or(virtual_joint).map(|v| v * settings.scale.factor)
        })
    }

    /// The pose that is published.
    pub(super) fn pose(&mut self, joints: &[f32], settings: &Settings) -> Pose3d {
        let slot = settings.lookahead as usize;
        let rays = self.window.slot(slot);
        let describes = self.window.slot_time(slot);
        let now = self.window.newest().unwrap_or(describes);
        let confidence = confidence(&rays);
        let mut joints = self.to_camera(joints, settings);

        let located = self.root.update(describes, locate(&joints, &rays));
        let covariance = located.map(|l| full_covariance(&l, settings.scale, settings.focal_doubt));
        self.bones.observe(&joints, &confidence);
        let settled = self.bones.settled();
        // Judged by what the network said, before anything is made good.
        let plausibility = plausibility(&joints, settled.as_ref());
        if settings.steady_bones {
            joints = self.bones.steadied(&joints);
        }
        if settings.smooth.enabled {
            joints = self.smoother.smooth(&settings.smooth, describes, joints);
        }
        let pose = Pose3d {
            joints: joints.map(|j| j.map(|v| v as f32)),
            confidence,
            root: located.map(|l| l.position.map(|v| v as f32)),
            root_covariance: covariance
                .map(|c| [c[0][0], c[0][1], c[0][2], c[1][1], c[1][2], c[2][2]].map(|v| v as f32)),
            plausibility: Some(plausibility),
            describes,
            lookahead_nanos: u32::try_from(now.nanos() - describes.nanos()).unwrap_or(u32::MAX),
        };
        self.lifted = Some((now, pose));
        pose
    }

    /// The revision that is due, from the network's answer about slot `slot`.
    pub(super) fn revision(
        &mut self,
        published: &Pose3d,
        joints: &[f32],
        slot: u32,
        settings: &Settings,
    ) -> Option<Pose3d> {
        let mut joints = self.to_camera(joints, settings);
        if settings.steady_bones {
            joints = self.bones.steadied(&joints);
        }
        let answer = Answer {
            time: self.window.slot_time(slot as usize),
            joints,
            confidence: confidence(&self.window.slot(slot as usize)),
        };
        self.refiner.observe(published, answer);
        let settled = self.bones.settled();
        let mut revised = self.refiner.revise(self.window.newest()?)?;
        let joints = revised.joints.map(|j| j.map(f64::from));
        revised.plausibility = Some(plausibility(&joints, settled.as_ref()));
        Some(revised)
    }
}

/// Which keypoints the belief in a Human3.6M joint rests on: itself where COCO has it, else those
/// around it.
pub(super) fn confidence(target: &Rays) -> [f32; JOINTS] {
    use coco::*;
    const HIPS: &[usize] = &[LEFT_HIP, RIGHT_HIP];
    const SHOULDERS: &[usize] = &[LEFT_SHOULDER, RIGHT_SHOULDER];
    const TORSO: &[usize] = &[LEFT_HIP, RIGHT_HIP, LEFT_SHOULDER, RIGHT_SHOULDER];
    const HEAD: &[usize] = &[NOSE, LEFT_EAR, RIGHT_EAR];
    const SOURCES: [&[usize]; JOINTS] = [
        HIPS,
        &[RIGHT_HIP],
        &[RIGHT_KNEE],
        &[RIGHT_ANKLE],
        &[LEFT_HIP],
        &[LEFT_KNEE],
        &[LEFT_ANKLE],
        TORSO,
        SHOULDERS,
        SHOULDERS,
        HEAD,
        &[LEFT_SHOULDER],
        &[LEFT_ELBOW],
        &[LEFT_WRIST],
        &[RIGHT_SHOULDER],
        &[RIGHT_ELBOW],
        &[RIGHT_WRIST],
    ];
    SOURCES.map(|from| from.iter().map(|&j| target[j].confidence).sum::<f32>() / from.len() as f32)
}
