use nalgebra::{Rotation3, Vector3};

use super::board::{Board, Corners};
use super::pose::{BoardPlace, locate};
use super::*;

const BOARD: Board = Board { columns: 9, rows: 6, square: 0.03 };

/// Lenses from tele to wide, at several sizes.
fn lenses() -> Vec<Intrinsics> {
    vec![
        Intrinsics {
            distortion: [-0.28, 0.09, 0.0008, -0.0006, 0.0],
            ..Intrinsics::from_fov(640, 480, 65.0)
        },
        Intrinsics {
            fx: 921.0,
            fy: 917.0,
            cx: 655.0,
            cy: 351.0,
            distortion: [0.12, -0.25, -0.001, 0.002, 0.11],
            ..Intrinsics::from_fov(1280, 720, 70.0)
        },
        Intrinsics { cx: 340.0, cy: 228.0, ..Intrinsics::from_fov(640, 480, 40.0) },
        Intrinsics {
            distortion: [-0.33, 0.14, 0.0, 0.0, -0.03],
            ..Intrinsics::from_fov(1920, 1080, 95.0)
        },
    ]
}

/// The corners seen by `lens` for a board of this rotation vector whose middle is at `middle`;
/// `None` if any is outside of the picture.
fn seen(lens: &Intrinsics, turn: [f64; 3], middle: [f64; 3]) -> Option<Vec<[f64; 2]>> {
    let rotation = Rotation3::new(Vector3::from(turn));
    let (cx, cy) = (4.0 * BOARD.square, 2.5 * BOARD.square);
    BOARD
        .points()
        .into_iter()
        .map(|p| {
            let q = rotation * Vector3::new(p[0] - cx, p[1] - cy, 0.0) + Vector3::from(middle);
            let [x, y] = lens.project([q.x, q.y, q.z])?;
            let inside = |v: f64, size: u32| v > 2.0 && v < f64::from(size) - 3.0;
            // Far outside of the picture the model folds over and comes back in; a lens does not.
            let [u, v] = lens.unproject(x, y);
            if (u - q.x / q.z).hypot(v - q.y / q.z) > 1e-6 {
                return None;
            }
            (inside(x, lens.width) && inside(y, lens.height)).then_some([x, y])
        })
        .collect()
}

/// Normal deviates from a small generator of our own (xorshift, Box-Muller).
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let (a, b) = (self.uniform().max(1e-300), self.uniform());
        (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }
}

/// Views as somebody would take them, with noise of that many pixels.
fn views(lens: &Intrinsics, count: usize, noise: f64, seed: u64) -> Vec<View> {
    let mut random = Random(seed);
    let mut views = Vec::new();
    // The width of the picture at 1 m.
    let span = f64::from(lens.width) / lens.fx;
    while views.len() < count {
        let z = 0.3 / span * (1.0 + random.uniform());
        let turn = [
            (random.uniform() - 0.5) * 1.6,
            (random.uniform() - 0.5) * 1.6,
            (random.uniform() - 0.5) * 1.0,
        ];
        let middle =
            [(random.uniform() - 0.5) * span * z, (random.uniform() - 0.5) * span * z * 0.7, z];
        let Some(mut corners) = seen(lens, turn, middle) else { continue };
        for c in &mut corners {
            c[0] += noise * random.normal();
            c[1] += noise * random.normal();
        }
        views.push(View { name: format!("view {}", views.len()), corners });
    }
    views
}

#[test]
fn exact_corners_give_the_lens_back() {
    for lens in lenses() {
        let found = calibrate(&BOARD, lens.width, lens.height, &views(&lens, 12, 0.0, 7)).unwrap();
        let got = found.intrinsics;
        assert!(found.quality.rms < 1e-6, "{} px", found.quality.rms);
        assert!((got.fx / lens.fx - 1.0).abs() < 1e-6 && (got.fy / lens.fy - 1.0).abs() < 1e-6);
        assert!((got.cx - lens.cx).abs() < 1e-3 && (got.cy - lens.cy).abs() < 1e-3);
        for (a, b) in got.distortion.iter().zip(&lens.distortion) {
            assert!((a - b).abs() < 1e-3, "{:?} for {:?}", got.distortion, lens.distortion);
        }
    }
}

#[test]
fn noisy_corners_give_the_focal_length_within_a_thousandth_and_a_tenth_of_a_pixel() {
    // A deviation of 0.04 pixels along each axis: what the corner finder reaches on rendered
    // pictures (tests/calibration.rs).
    for (i, lens) in lenses().into_iter().enumerate() {
        let views = views(&lens, 20, 0.04, 11 + i as u64);
        let found = calibrate(&BOARD, lens.width, lens.height, &views).unwrap();
        let got = found.intrinsics;
        let off = (got.fx / lens.fx - 1.0).abs().max((got.fy / lens.fy - 1.0).abs());
        println!(
            "lens {i}: focal length off by {:.4} %, {:.4} px rms, stated {:.4} %",
            100.0 * off,
            found.quality.rms,
            100.0 * found.quality.focal_deviation
        );
        assert!(off < 1e-3, "{} %", 100.0 * off);
        assert!(found.quality.rms < 0.1, "{} px", found.quality.rms);
        assert!(off < 4.0 * found.quality.focal_deviation);
    }
}

#[test]
fn views_all_alike_are_refused_with_advice() {
    let lens = lenses()[0];
    let mut random = Random(3);
    let alike: Vec<View> = (0..20)
        .map(|i| {
            let jitter = [0.0; 3].map(|_: f64| 0.004 * random.normal());
            let turn = [0.1 + jitter[0], 0.1 + jitter[1], jitter[2]];
            let mut corners = seen(&lens, turn, [0.01, 0.0, 0.5]).unwrap();
            for c in &mut corners {
                c[0] += 0.05 * random.normal();
            }
            View { name: format!("view {i}"), corners }
        })
        .collect();
    let error = calibrate(&BOARD, 640, 480, &alike).unwrap_err();
    let words = error.to_string();
    assert!(matches!(error, CalibrationError::Undetermined { .. }), "{words}");
    assert!(words.contains("different places") && words.contains("tilt the board"), "{words}");
}

#[test]
fn boards_that_always_face_the_camera_are_refused_with_advice() {
    // Moved about, never tilted: distance and focal length cannot be told apart.
    let lens = lenses()[2];
    let mut random = Random(5);
    let mut frontal = Vec::new();
    while frontal.len() < 15 {
        let z = 0.8 + random.uniform();
        let middle = [(random.uniform() - 0.5) * 0.3, (random.uniform() - 0.5) * 0.3, z];
        let Some(mut corners) = seen(&lens, [0.0, 0.0, random.uniform()], middle) else { continue };
        for c in &mut corners {
            c[0] += 0.05 * random.normal();
            c[1] += 0.05 * random.normal();
        }
        frontal.push(View { name: format!("view {}", frontal.len()), corners });
    }
    let error = calibrate(&BOARD, 640, 480, &frontal).unwrap_err();
    let words = error.to_string();
    assert!(matches!(error, CalibrationError::Undetermined { .. }), "{words}");
    assert!(words.contains("tilt the board"), "{words}");
}

#[test]
fn too_few_views_and_wrong_numbers_of_corners_are_named() {
    let lens = lenses()[0];
    let mut views = views(&lens, 6, 0.0, 9);
    let error = calibrate(&BOARD, 640, 480, &views[..3]).unwrap_err();
    assert!(matches!(error, CalibrationError::TooFew { found: 3 }));
    views[2].corners.pop();
    let error = calibrate(&BOARD, 640, 480, &views).unwrap_err();
    assert!(error.to_string().contains("view 2 has 53 corners"), "{error}");
}

#[test]
fn a_view_with_mistaken_corners_is_left_out_and_named() {
    let lens = lenses()[0];
    let mut views = views(&lens, 12, 0.03, 21);
    for (i, c) in views[4].corners.iter_mut().enumerate() {
        c[0] += if i % 2 == 1 { 6.0 } else { -6.0 };
    }
    let found = calibrate(&BOARD, 640, 480, &views).unwrap();
    assert_eq!(found.left_out.len(), 1);
    assert_eq!(found.left_out[0].0, "view 4");
    assert!((found.intrinsics.fx / lens.fx - 1.0).abs() < 1e-3);
}

#[test]
fn corners_of_no_lens_are_refused() {
    let lens = lenses()[0];
    let mut random = Random(77);
    let mut views = views(&lens, 10, 0.0, 31);
    for c in views.iter_mut().flat_map(|v| &mut v.corners) {
        c[0] += 6.0 * random.normal();
        c[1] += 6.0 * random.normal();
    }
    let error = calibrate(&BOARD, 640, 480, &views).unwrap_err();
    assert!(matches!(error, CalibrationError::Misfit { .. }), "{error}");
    let nonsense: Vec<View> = (0..8)
        .map(|i| View {
            name: format!("view {i}"),
            corners: (0..54)
                .map(|_| [640.0 * random.uniform(), 480.0 * random.uniform()])
                .collect(),
        })
        .collect();
    assert!(calibrate(&BOARD, 640, 480, &nonsense).is_err());
    let mut infinite = nonsense;
    infinite[0].corners[0][0] = f64::NAN;
    assert!(calibrate(&BOARD, 640, 480, &infinite).is_err());
}

#[test]
fn the_camera_is_found_from_a_board_at_a_known_place() {
    let lens = lenses()[1];
    // The board lies on the floor, its printed frame's axes turned by 90 degrees about z, its
    // origin at (2, 1, 0); the camera is 1.4 m above, looking down at it.
    let place = BoardPlace { at: [2.0, 1.0, 0.0], roll_pitch_yaw: [0.0, 0.0, 90.0] };
    let eye = Vector3::new(1.2, 0.7, 1.4);
    let target = Vector3::new(2.05, 1.05, 0.0);
    let z = (target - eye).normalize();
    let x = z.cross(&Vector3::z()).normalize();
    let y = z.cross(&x);
    let to_world = Rotation3::from_basis_unchecked(&[x, y, z]);
    let yaw = Rotation3::from_euler_angles(0.0, 0.0, 90f64.to_radians());
    let corners = BOARD
        .points()
        .into_iter()
        .map(|p| {
            let world = yaw * Vector3::new(p[0], -p[1], 0.0) + Vector3::from(place.at);
            let c = to_world.inverse() * (world - eye);
            lens.project([c.x, c.y, c.z]).unwrap()
        })
        .collect();
    let view = View { name: "floor".into(), corners };
    let (found, rms) = locate(&BOARD, &lens, &view, &place, "world").unwrap();
    found.check().unwrap();
    assert!(rms < 1e-6, "{rms}");
    let off = Vector3::from(found.translation) - eye;
    assert!(off.norm() < 1e-6, "{:?}", found.translation);
    let down = to_world.inverse() * -Vector3::z();
    let gravity = found.gravity();
    assert!((Vector3::from(gravity) - down).norm() < 1e-6, "{gravity:?}");
    let above = found.place([0.0, 0.0, (target - eye).norm()]);
    assert!((Vector3::from(above) - target).norm() < 1e-6, "{above:?}");

    let square = Board::new(Corners { columns: 7, rows: 7 }, 30.0).unwrap();
    assert!(locate(&square, &lens, &view, &place, "world").unwrap_err().contains("upside down"));
}

#[test]
fn a_written_calibration_is_read_back_and_its_picture_is_svg() {
    let lens = lenses()[0];
    let found = calibrate(&BOARD, 640, 480, &views(&lens, 8, 0.05, 3)).unwrap();
    let written = file::CameraFile {
        camera: "front".into(),
        origin: "a test".into(),
        intrinsics: found.intrinsics,
        quality: Some(found.quality),
        extrinsics: Some(pose::Extrinsics {
            frame: "world".into(),
            translation: [0.0, 1.0, 2.0],
            rotation: [1.0, 0.0, 0.0, 0.0],
        }),
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new").join("front.toml");
    written.write(&path).unwrap();
    assert_eq!(file::CameraFile::read(&path).unwrap(), written);
    let svg = report::svg(&found);
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
    assert_eq!(svg.matches("<path stroke=\"hsl").count(), 8);
}
