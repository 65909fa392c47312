//! Bone rotations from joint positions, for everything that animates a skeleton instead of
//! drawing points: VMC, BVH.
//!
//! **Frame.** Right-handed, y up, metres. A person who stands in front of a level camera and
//! looks into it has x to their left, y up and z forward: the frame of BVH and of VRM. [`Upright`]
//! turns camera coordinates into it.
//!
//! **Bones.** Of the Human3.6M skeleton; bone `j` is the one that ends in joint `j` and starts in
//! the joint [`PARENT`]`[j]`. Bone 0 has no length: its rotation is the whole body's, at the
//! pelvis. The bones of joints 4 (left hip) and 11 (left shoulder) are the half pelvis and the
//! collar bone.
//!
//! **Rest pose.** The T-pose in which every rotation is the identity: standing, facing +z, palms
//! down. Spine, chest, neck and head point along +y, the left half pelvis, collar bone and arm
//! along +x, the right ones along -x, thighs and shanks along -y ([`REST`]).
//!
//! **Rotations** are world rotations (`rotations[j] * REST[j]` is the bone's measured direction,
//! exactly); [`local`] gives them relative to the parent bone. Two points do not say how a bone
//! is turned about itself; that comes from:
//!
//! | bone | turned by |
//! |---|---|
//! | body | the line between the hips, exactly; upright towards the spine joint |
//! | spine | the mean of the lines between the hips and between the shoulders |
//! | chest | the line between the shoulders |
//! | upper arm, thigh | the plane in which elbow or knee are bent; from straight to 20 degrees more and more, as a straight limb has no such plane. A knee does not bend forward: then the plane is noise |
//! | all others | nothing: the shortest turn from the parent |
//!
//! A bone without length or with a coordinate that is not finite keeps its parent's rotation.

use glam::{DMat3, DQuat, DVec3};

use crate::skeleton::{JOINTS, h36m};

/// The bone that each bone starts from; 0's own is 0.
pub const PARENT: [usize; JOINTS] = [0, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15];

/// Direction of each bone in the rest pose; bone 0 has none.
pub const REST: [DVec3; JOINTS] = [
    DVec3::ZERO,
    DVec3::NEG_X,
    DVec3::NEG_Y,
    DVec3::NEG_Y,
    DVec3::X,
    DVec3::NEG_Y,
    DVec3::NEG_Y,
    DVec3::Y,
    DVec3::Y,
    DVec3::Y,
    DVec3::Y,
    DVec3::X,
    DVec3::X,
    DVec3::X,
    DVec3::NEG_X,
    DVec3::NEG_X,
    DVec3::NEG_X,
];

/// Shorter bones have no direction, metres.
const LEAST_LENGTH: f64 = 1e-4;

/// The turn from camera coordinates (x right, y down, z forward) into this module's frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Upright(DMat3);

impl Upright {
    /// With `gravity` the direction in which things fall, in camera coordinates; a level camera
    /// if it is not known, or no direction.
    pub fn new(gravity: Option<[f64; 3]>) -> Self {
        let up = gravity
            .map(|g| -DVec3::from_array(g))
            .and_then(DVec3::try_normalize)
            .unwrap_or(DVec3::NEG_Y);
        // Level with the camera's view; of a camera that looks straight up or down, with the
        // lower or upper edge of its picture.
        let view = DVec3::Z.reject_from_normalized(up);
        let ahead = if view.length() > 1e-6 {
            view.normalize()
        } else {
            DVec3::Y.reject_from_normalized(up).normalize() * up.z.signum()
        };
        let z = -ahead;
        Self(DMat3::from_cols(up.cross(z), up, z).transpose())
    }

    /// A point or direction of the camera in this module's frame.
    pub fn turn(&self, camera: [f32; 3]) -> DVec3 {
        self.0 * DVec3::from_array(camera.map(f64::from))
    }

    /// Every joint of a pose in this module's frame.
    pub fn turn_all(&self, camera: &[[f32; 3]; JOINTS]) -> [DVec3; JOINTS] {
        camera.map(|joint| self.turn(joint))
    }
}

/// World rotation of every bone, unit quaternions, from joint positions in this module's frame
/// (metres, wherever the pelvis is).
pub fn rotations(joints: &[DVec3; JOINTS]) -> [DQuat; JOINTS] {
    let direction = |bone: usize| unit(joints[bone] - joints[PARENT[bone]]);
    let hips = unit(joints[h36m::LEFT_HIP] - joints[h36m::RIGHT_HIP]);
    let shoulders = unit(joints[h36m::LEFT_SHOULDER] - joints[h36m::RIGHT_SHOULDER]);
    let mut world = [DQuat::IDENTITY; JOINTS];

    let across = hips.or(shoulders);
    let trunk = direction(h36m::SPINE).or_else(|| unit(joints[h36m::THORAX] - joints[0]));
    world[h36m::PELVIS] = match (across, trunk) {
        (Some(across), trunk) => aim(DVec3::X, across, DVec3::Y, trunk.unwrap_or(DVec3::Y))
            .unwrap_or_else(|| swing(DQuat::IDENTITY, DVec3::X, across, DVec3::Y)),
        (None, Some(trunk)) => swing(DQuat::IDENTITY, DVec3::Y, trunk, DVec3::X),
        (None, None) => DQuat::IDENTITY,
    };
    let middle = unit(hips.unwrap_or_default() + shoulders.unwrap_or_default());

    for bone in 1..JOINTS {
        let parent = world[PARENT[bone]];
        let Some(along) = direction(bone) else {
            world[bone] = parent;
            continue;
        };
        let shortest = swing(parent, REST[bone], along, turning_axis(bone));
        let hint = match bone {
            h36m::SPINE => middle,
            h36m::THORAX => shoulders,
            _ => None,
        };
        let aimed = hint.and_then(|hint| aim(DVec3::Y, along, DVec3::X, hint));
        world[bone] = match (aimed, limb(bone)) {
            (Some(aimed), _) => aimed,
            (None, Some((hinge, guarded))) => match direction(bone + 1) {
                Some(next) => bend(shortest, along, shortest * hinge, next, guarded),
                None => shortest,
            },
            (None, None) => shortest,
        };
    }
    world
}

/// The rotations relative to each bone's parent; bone 0's is the world's.
pub fn local(world: &[DQuat; JOINTS]) -> [DQuat; JOINTS] {
    std::array::from_fn(|bone| {
        if bone == h36m::PELVIS {
            world[bone]
        } else {
            (world[PARENT[bone]].conjugate() * world[bone]).normalize()
        }
    })
}

/// Length of every bone, metres; 0 for bone 0.
pub fn lengths(joints: &[DVec3; JOINTS]) -> [f64; JOINTS] {
    std::array::from_fn(|bone| joints[bone].distance(joints[PARENT[bone]]))
}

/// Forward kinematics: where the joints are when bones of these lengths, at rest in the T-pose
/// with the pelvis in `root`, are turned by these local rotations.
pub fn pose(root: DVec3, lengths: &[f64; JOINTS], local: &[DQuat; JOINTS]) -> [DVec3; JOINTS] {
    let mut world = *local;
    let mut joints = [root; JOINTS];
    for bone in 1..JOINTS {
        let parent = PARENT[bone];
        world[bone] = world[parent] * local[bone];
        joints[bone] = joints[parent] + world[bone] * (REST[bone] * lengths[bone]);
    }
    joints
}

/// The direction of `v`, if it has one.
fn unit(v: DVec3) -> Option<DVec3> {
    let length = v.length();
    (length.is_finite() && length > LEAST_LENGTH).then(|| v / length)
}

/// The axis about which a bone turns that points exactly against its rest: the joint's own hinge.
fn turning_axis(bone: usize) -> DVec3 {
    match bone {
        h36m::LEFT_SHOULDER | h36m::LEFT_ELBOW | h36m::LEFT_WRIST | h36m::LEFT_HIP => DVec3::NEG_Y,
        h36m::RIGHT_SHOULDER | h36m::RIGHT_ELBOW | h36m::RIGHT_WRIST | h36m::RIGHT_HIP => DVec3::Y,
        _ => DVec3::X,
    }
}

/// The hinge at the far end of an upper arm or a thigh, in the rest pose: the axis about which
/// the next bone bends. And whether it bends one way only.
fn limb(bone: usize) -> Option<(DVec3, bool)> {
    match bone {
        h36m::LEFT_ELBOW => Some((DVec3::NEG_Y, false)),
        h36m::RIGHT_ELBOW => Some((DVec3::Y, false)),
        h36m::LEFT_KNEE | h36m::RIGHT_KNEE => Some((DVec3::X, true)),
        _ => None,
    }
}

/// `parent`, then the shortest turn that brings its `rest` to `along`.
fn swing(parent: DQuat, rest: DVec3, along: DVec3, axis: DVec3) -> DQuat {
    let there = parent.conjugate() * along;
    // Against the rest there is no shortest turn: all axes are as good, and the hinge is human.
    let turn = if there.dot(rest) < -1.0 + 1e-10 {
        DQuat::from_axis_angle(axis, std::f64::consts::PI)
    } else {
        DQuat::from_rotation_arc(rest, there.normalize())
    };
    (parent * turn).normalize()
}

/// The rotation that brings `rest` to `along` and `side`, which is normal to `rest`, as near as it
/// then can to `hint`; `None` if `hint` lies along `along`.
fn aim(rest: DVec3, along: DVec3, side: DVec3, hint: DVec3) -> Option<DQuat> {
    let aside = hint.reject_from(along);
    if aside.length() < 1e-3 {
        return None;
    }
    let aside = aside.normalize();
    let to = DMat3::from_cols(along, aside, along.cross(aside));
    let from = DMat3::from_cols(rest, side, rest.cross(side));
    Some(DQuat::from_mat3(&(to * from.transpose())).normalize())
}

/// `shortest`, turned about the bone itself so that its `hinge` is normal to the plane in which
/// the `next` bone is bent.
fn bend(shortest: DQuat, along: DVec3, hinge: DVec3, next: DVec3, guarded: bool) -> DQuat {
    let normal = along.cross(next);
    let angle = hinge.cross(normal).dot(along).atan2(hinge.dot(normal));
    let mut trust = ramp(normal.length(), 0.1, 0.35);
    if guarded {
        trust *= ramp(angle.cos(), 0.0, 0.3);
    }
    (DQuat::from_axis_angle(along, trust * angle) * shortest).normalize()
}

/// 0 up to `from`, 1 from `to` on, the cubic with level ends between.
fn ramp(x: f64, from: f64, to: f64) -> f64 {
    let x = ((x - from) / (to - from)).clamp(0.0, 1.0);
    x * x * (3.0 - 2.0 * x)
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    use crate::skeleton::Skeleton;

    /// The T-pose of an adult, pelvis at the origin.
    fn rest() -> [DVec3; JOINTS] {
        pose(DVec3::ZERO, &LENGTHS, &[DQuat::IDENTITY; JOINTS])
    }

    const LENGTHS: [f64; JOINTS] = [
        0.0, 0.1, 0.42, 0.42, 0.1, 0.42, 0.42, 0.23, 0.25, 0.16, 0.12, 0.17, 0.32, 0.25, 0.17,
        0.32, 0.25,
    ];

    /// How far `rotations` is from turning the rest pose into `joints`: the largest difference
    /// between a bone's measured direction and the turned rest direction.
    fn worst_direction(joints: &[DVec3; JOINTS]) -> f64 {
        let turned = pose(joints[0], &lengths(joints), &local(&rotations(joints)));
        (1..JOINTS)
            .map(|bone| {
                let way = |j: &[DVec3; JOINTS]| unit(j[bone] - j[PARENT[bone]]);
                match (way(joints), way(&turned)) {
                    (Some(a), Some(b)) => a.distance(b),
                    (None, _) => 0.0,
                    (Some(_), None) => f64::INFINITY,
                }
            })
            .fold(0.0, f64::max)
    }

    fn angle(a: DQuat, b: DQuat) -> f64 {
        a.angle_between(b)
    }

    #[test]
    fn parents_are_those_of_the_skeleton_and_come_before_their_bones() {
        for &(parent, child) in Skeleton::Human36m17.bones() {
            assert_eq!(PARENT[child], parent);
            assert!(parent < child);
        }
    }

    #[test]
    fn the_rest_pose_has_no_rotation() {
        for (bone, q) in rotations(&rest()).iter().enumerate() {
            assert!(angle(*q, DQuat::IDENTITY) < 1e-7, "{bone}: {q}");
        }
    }

    #[test]
    fn a_person_who_looks_into_a_level_camera_has_x_to_their_left() {
        let level = Upright::new(None);
        assert!(level.turn([1.0, 0.0, 0.0]).distance(DVec3::X) < 1e-12);
        assert!(level.turn([0.0, -1.0, 0.0]).distance(DVec3::Y) < 1e-12);
        assert!(level.turn([0.0, 0.0, -1.0]).distance(DVec3::Z) < 1e-12);
    }

    #[test]
    fn a_camera_that_looks_straight_down_has_the_floor_level_and_its_picture_upright() {
        let down = Upright::new(Some([0.0, 0.0, 1.0]));
        assert!(down.turn([0.0, 0.0, -1.0]).distance(DVec3::Y) < 1e-12, "towards the camera is up");
        assert!(down.turn([0.0, 1.0, 0.0]).distance(DVec3::Z) < 1e-12, "below in the picture");
        let nearly = Upright::new(Some([0.0, 1e-3, 1.0]));
        assert!(nearly.turn([0.0, 1.0, 0.0]).distance(DVec3::Z) < 1e-2, "and no jump to it");
        let up = Upright::new(Some([0.0, 0.0, -1.0]));
        let nearly = Upright::new(Some([0.0, 1e-3, -1.0]));
        assert!(up.turn([0.3, 0.5, 0.2]).distance(nearly.turn([0.3, 0.5, 0.2])) < 1e-2);
    }

    #[test]
    fn a_bent_elbow_turns_the_upper_arm_and_only_bends_the_forearm() {
        // Left upper arm hanging, forearm forward.
        let mut joints = rest();
        joints[12] = joints[11] + DVec3::NEG_Y * 0.32;
        joints[13] = joints[12] + DVec3::Z * 0.25;
        let turns = local(&rotations(&joints));
        let (axis, by) = turns[13].to_axis_angle();
        assert!((by - std::f64::consts::FRAC_PI_2).abs() < 1e-9);
        assert!(axis.distance(DVec3::NEG_Y) < 1e-9, "about the hinge of the elbow: {axis}");
        // The hand across the belly: the same hinge, the upper arm turned inwards by 90 degrees.
        joints[13] = joints[12] + DVec3::NEG_X * 0.25;
        let inward = rotations(&joints);
        let (axis, by) = local(&inward)[13].to_axis_angle();
        assert!((by - std::f64::consts::FRAC_PI_2).abs() < 1e-9);
        assert!(axis.distance(DVec3::NEG_Y) < 1e-9);
        let turned = angle(inward[12], rotations(&rest())[12]);
        assert!(turned > 1.0);
    }

    #[test]
    fn a_knee_that_noise_bends_forward_does_not_turn_the_thigh_around() {
        let mut joints = rest();
        joints[6] = joints[5] + DVec3::new(0.0, -0.42, 0.15);
        let turned = rotations(&joints)[5];
        assert!(angle(turned, DQuat::IDENTITY) < 1e-7, "{turned}");
        assert!(worst_direction(&joints) < 1e-6);
    }

    #[test]
    fn a_limb_that_straightens_does_not_twitch() {
        // An elbow from 60 to 0 degrees in steps of half a degree, arm hanging.
        let mut last: Option<DQuat> = None;
        for step in 0..=120 {
            let by = (60.0 - 0.5 * f64::from(step)).to_radians();
            let mut joints = rest();
            joints[12] = joints[11] + DVec3::new(0.1, -0.3, 0.0);
            let upper = (joints[12] - joints[11]).normalize();
            let aside = DVec3::new(0.3, 0.1, 0.9).reject_from(upper).normalize();
            joints[13] = joints[12] + 0.25 * (upper * by.cos() + aside * by.sin());
            let now = rotations(&joints)[12];
            if let Some(last) = last {
                assert!(angle(last, now).to_degrees() < 3.0, "at step {step}");
            }
            last = Some(now);
        }
    }

    #[test]
    fn joints_that_coincide_or_are_no_numbers_still_give_rotations() {
        let mut nothing = [DVec3::ZERO; JOINTS];
        assert!(rotations(&nothing).iter().all(|q| angle(*q, DQuat::IDENTITY) < 1e-7));
        nothing[12] = DVec3::NAN;
        nothing[4] = DVec3::INFINITY;
        assert!(rotations(&nothing).iter().all(|q| q.is_finite() && q.is_normalized()));
    }

    #[test]
    fn limbs_against_their_rest_turn_about_their_hinges() {
        let mut joints = rest();
        joints[12] = joints[11] - DVec3::X * 0.32;
        joints[13] = joints[12] - DVec3::X * 0.25;
        joints[5] = joints[4] + DVec3::Y * 0.42;
        joints[6] = joints[5] + DVec3::Y * 0.42;
        assert!(worst_direction(&joints) < 1e-6);
        let (axis, _) = rotations(&joints)[5].to_axis_angle();
        assert!(axis.cross(DVec3::X).length() < 1e-9, "a thigh is raised about the hip's axis");
    }

    fn any_pose() -> impl Strategy<Value = [DVec3; JOINTS]> {
        let coordinate = -2.0f64..2.0;
        proptest::array::uniform17(proptest::array::uniform3(coordinate))
            .prop_map(|joints| joints.map(DVec3::from_array))
    }

    fn any_turn() -> impl Strategy<Value = DQuat> {
        proptest::array::uniform4(-1.0f64..1.0)
            .prop_map(DQuat::from_array)
            .prop_filter("no length", |q| q.length() > 1e-3)
            .prop_map(DQuat::normalize)
    }

    proptest! {
        #[test]
        fn turned_rest_bones_point_where_the_joints_are(joints in any_pose()) {
            prop_assert!(worst_direction(&joints) < 1e-6);
            for q in rotations(&joints) {
                prop_assert!(q.is_normalized());
            }
        }

        #[test]
        fn whole_poses_come_back_from_lengths_and_rotations(joints in any_pose()) {
            let back = pose(joints[0], &lengths(&joints), &local(&rotations(&joints)));
            for (a, b) in joints.iter().zip(&back) {
                prop_assert!(a.distance(*b) < 1e-6, "{a} {b}");
            }
        }

        #[test]
        fn where_somebody_stands_and_how_tall_they_are_changes_nothing(
            joints in any_pose(),
            by in proptest::array::uniform3(-5.0f64..5.0),
            scale in 0.5f64..2.0,
        ) {
            let moved = joints.map(|j| j * scale + DVec3::from_array(by));
            for (a, b) in rotations(&joints).iter().zip(&rotations(&moved)) {
                prop_assert!(angle(*a, *b) < 1e-5);
            }
        }

        #[test]
        fn a_turned_body_is_the_body_turned(turn in any_turn()) {
            // Not the rest pose: there every limb is straight, and nothing says how it is turned.
            let mut joints = rest();
            joints[13] += DVec3::new(-0.1, 0.0, 0.2);
            joints[6] += DVec3::new(0.02, 0.1, -0.2);
            let turned = joints.map(|j| turn * j);
            let before = rotations(&joints);
            for (a, b) in before.iter().zip(&rotations(&turned)) {
                prop_assert!(angle(turn * *a, *b) < 1e-5);
            }
        }

        #[test]
        fn the_upright_frame_is_a_rotation_with_gravity_down(
            gravity in proptest::array::uniform3(-1.0f64..1.0),
            point in proptest::array::uniform3(-3.0f32..3.0),
        ) {
            prop_assume!(DVec3::from_array(gravity).length() > 1e-3);
            let upright = Upright::new(Some(gravity));
            let there = upright.turn(point);
            let before = DVec3::from_array(point.map(f64::from));
            prop_assert!((there.length() - before.length()).abs() < 1e-9);
            let fall = upright.turn(gravity.map(|g| g as f32)).normalize();
            prop_assert!(fall.distance(DVec3::NEG_Y) < 1e-5);
            // And no mirror.
            let [x, y, z] = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
                .map(|axis| upright.turn(axis));
            prop_assert!((x.cross(y).dot(z) - 1.0).abs() < 1e-9);
        }
    }
}
