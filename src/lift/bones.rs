//! How long one person's bones are: a running estimate over all poses of a track.
//!
//! Lifters answer for each moment anew, and with depth errors bones come out longer and shorter
//! than they are. A person's bones do not change, and are as long on the left as on the right. So
//! each kind of bone has one length, the robust mean of the logarithm of all that was seen of it.
//! A pose's bones are then drawn half-way towards it ([`Bones::steadied`]); what that gains is in
//! `docs/lifting.md`.

use crate::skeleton::{JOINTS, Skeleton};

use super::matrix::*;

/// Kinds of bone; left and right are one kind.
pub const KINDS: usize = 10;

/// What each bone of [`Skeleton::Human36m17`] is: hip, thigh, shin, three parts of the trunk with
/// the neck, head, shoulder, upper arm, forearm.
pub(super) const KIND: [usize; JOINTS - 1] = [0, 1, 2, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 7, 8, 9];

/// A single length moves the mean by no more than a deviation of this size would (a natural
/// logarithm, so about a share).
const CLIP: f64 = 0.15;
/// Poses, weighted by their confidence, after which lengths are taken for known...
const SETTLED: f64 = 30.0;
/// ... and after which they change no slower: some ten seconds.
const MEMORY: f64 = 300.0;
/// How far a bone is drawn to its settled length: all the way was worse than not at all.
const STEADY: f64 = 0.5;

/// Lengths of a pose's bones, metres, in the order of the skeleton's bones.
pub(super) fn lengths(joints: &[V3; JOINTS]) -> [f64; JOINTS - 1] {
    let bones = Skeleton::Human36m17.bones();
    std::array::from_fn(|i| norm(sub(joints[bones[i].1], joints[bones[i].0])))
}

/// One person's bones.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bones {
    /// Mean logarithm of the length, and the weight that is behind it.
    kinds: [(f64, f64); KINDS],
}

impl Bones {
    /// Forgets everything.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Takes in a pose: joints in metres, with their confidences.
    pub fn observe(&mut self, joints: &[V3; JOINTS], confidence: &[f32; JOINTS]) {
        let bones = Skeleton::Human36m17.bones();
        for ((length, kind), (a, b)) in lengths(joints).into_iter().zip(KIND).zip(bones) {
            let weight = f64::from(confidence[*a].min(confidence[*b]));
            // Neither a number that is none nor a bone of no length says anything.
            if !(length > 1e-3 && length.is_finite() && weight > 0.0) {
                continue;
            }
            let (mean, known) = &mut self.kinds[kind];
            let seen = length.ln();
            if *known == 0.0 {
                *mean = seen;
            }
            *known = (*known + weight).min(MEMORY);
            *mean += weight / *known * (seen - *mean).clamp(-CLIP, CLIP);
        }
    }

    /// The settled lengths of all bones in the skeleton's order, metres; `None` while they are not
    /// known.
    pub fn settled(&self) -> Option<[f64; JOINTS - 1]> {
        let known = self.kinds.iter().all(|(_, weight)| *weight >= SETTLED);
        known.then(|| KIND.map(|kind| self.kinds[kind].0.exp()))
    }

    /// The pose with its bones drawn half-way (as their logarithms go) to their settled lengths.
    /// Directions stay; the pelvis stays at the origin. Unchanged while lengths are not known.
    pub fn steadied(&self, joints: &[V3; JOINTS]) -> [V3; JOINTS] {
        let Some(settled) = self.settled() else { return *joints };
        let mut steady = *joints;
        // Parents come before their children.
        for (&(a, b), wanted) in Skeleton::Human36m17.bones().iter().zip(settled) {
            let bone = sub(joints[b], joints[a]);
            let length = norm(bone);
            let factor = if length > 1e-3 { (wanted / length).powf(STEADY) } else { 1.0 };
            steady[b] = add(steady[a], scaled(bone, factor));
        }
        steady
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Figure;
    use crate::figure::random::SplitMix64;
    use crate::time::Timestamp;

    #[test]
    fn lengths_settle_to_the_persons_own_through_noise_and_wild_poses() {
        let mut random = SplitMix64::new(3);
        let figure = Figure::default();
        let truth = |t| figure.at(Timestamp::from_secs_f64(t)).root_relative();
        let wanted = lengths(&truth(0.0));
        let mut bones = Bones::default();
        assert_eq!(bones.settled(), None);
        for i in 0..600 {
            let mut joints = truth(f64::from(i) / 30.0);
            for joint in joints.iter_mut().flatten() {
                *joint += 0.02 * random.normal();
            }
            // Every tenth pose has an arm of three metres.
            if i % 10 == 0 {
                joints[16][2] += 3.0;
            }
            bones.observe(&joints, &[0.8; JOINTS]);
        }
        let settled = bones.settled().unwrap();
        let pairs = settled.iter().zip(&wanted).zip(Skeleton::Human36m17.bones());
        for ((got, wanted), bone) in pairs {
            // The spine's parts bend, and noise makes short bones longer.
            assert!((got / wanted - 1.0).abs() < 0.09, "{bone:?}: {got} for {wanted}");
        }
        assert_eq!(settled[1], settled[4], "left and right are alike");
        bones.reset();
        assert_eq!(bones.settled(), None);
    }

    #[test]
    fn bones_are_drawn_half_way_to_what_they_have_been() {
        let joints = Figure::default().at(Timestamp::ZERO).root_relative();
        let mut bones = Bones::default();
        assert_eq!(bones.steadied(&joints), joints, "nothing is known yet");
        for _ in 0..100 {
            bones.observe(&joints, &[0.9; JOINTS]);
        }
        // The same pose by somebody a fifth larger.
        let steady = bones.steadied(&joints.map(|j| scaled(j, 1.2)));
        for ((got, usual), _) in lengths(&steady).iter().zip(lengths(&joints)).zip(0..) {
            assert!((got / usual - 1.2f64.sqrt()).abs() < 0.02, "{got} for {usual}");
        }
        assert_eq!(steady[0], [0.0; 3]);
    }

    #[test]
    fn what_is_not_seen_does_not_settle() {
        let joints = Figure::default().at(Timestamp::ZERO).root_relative();
        let mut confidence = [0.9; JOINTS];
        confidence[3] = 0.0;
        confidence[6] = 0.0;
        let mut bones = Bones::default();
        for _ in 0..100 {
            bones.observe(&joints, &confidence);
        }
        assert_eq!(bones.settled(), None, "nobody has seen a shin");
        bones.observe(&[[f64::NAN; 3]; JOINTS], &[1.0; JOINTS]);
        assert!(bones.kinds.iter().all(|(mean, _)| mean.is_finite()));
    }
}
