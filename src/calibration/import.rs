//! Calibrations of other programs: OpenCV's FileStorage (YAML), ROS `camera_info` (as the
//! calibrator writes it, and as the message is echoed), Kalibr's `camchain`.
//!
//! All of them have our pixel convention and our Brown-Conrady model under other names
//! (`plumb_bob`, `radtan`). Other lens models are refused by name: read as ours they would be wrong
//! by tens of pixels at the border.

use saphyr::{LoadableYamlNode, Yaml};

use crate::camera::Intrinsics;

/// A calibration that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// What kind of file it was.
    pub kind: &'static str,
    /// Its name of the camera.
    pub camera: Option<String>,
    /// The lens.
    pub intrinsics: Intrinsics,
}

/// Why a file was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// No YAML.
    #[error("no YAML: {0}")]
    Yaml(String),
    /// YAML of none of the kinds.
    #[error(
        "neither OpenCV (camera_matrix, distortion_coefficients), ROS camera_info (image_width, \
         camera_matrix) nor Kalibr (cam0: intrinsics, distortion_coeffs, resolution)"
    )]
    Kind,
    /// A field is missing or of another form.
    #[error("{0}")]
    Field(String),
    /// A lens model that is not ours.
    #[error(
        "the lens model {0} is not supported: only Brown-Conrady (OpenCV's five coefficients, \
         plumb_bob, radtan); calibrate again with that one, or with posewire calibrate camera"
    )]
    Model(String),
}

/// Reads a calibration of any of the kinds.
///
/// # Errors
/// [`ImportError`] says what is missing or not supported.
pub fn parse(text: &str) -> Result<Imported, ImportError> {
    // OpenCV 2 and 3 write `%YAML:1.0`, which is no directive of YAML.
    let text: String = text
        .lines()
        .map(|line| if line.starts_with("%YAML:") { "" } else { line })
        .flat_map(|line| [line, "\n"])
        .collect();
    let documents = Yaml::load_from_str(&text).map_err(|e| ImportError::Yaml(e.to_string()))?;
    let root = documents.first().map(plain).ok_or(ImportError::Kind)?;
    if let Some(cam) = get(root, "cam0") {
        if get(root, "cam1").is_some() {
            return Err(ImportError::Field(
                "a chain of several cameras: make a file of the one that is meant, named cam0"
                    .into(),
            ));
        }
        return kalibr(cam);
    }
    // A message as `ros2 topic echo` prints it.
    if let (Some(k), Some(_)) = (get(root, "k").or(get(root, "K")), get(root, "width")) {
        return ros_message(root, k);
    }
    if get(root, "camera_matrix").is_some() && get(root, "camera_name").is_some()
        || get(root, "distortion_model").is_some()
    {
        return ros(root);
    }
    opencv(root)
}

fn kalibr(cam: &Yaml<'_>) -> Result<Imported, ImportError> {
    let model = text(cam, "camera_model").unwrap_or_default();
    let distortion = text(cam, "distortion_model").unwrap_or_default();
    if model != "pinhole" {
        return Err(ImportError::Model(model.to_owned()));
    }
    if !["radtan", "none", ""].contains(&distortion) {
        return Err(ImportError::Model(distortion.to_owned()));
    }
    let numbers = |key: &str, least: usize| {
        let found = get(cam, key).map(all_numbers).unwrap_or_default();
        if found.len() < least {
            return Err(ImportError::Field(format!("cam0: {key} must have {least} numbers")));
        }
        Ok(found)
    };
    let [fx, fy, cx, cy] = fixed(&numbers("intrinsics", 4)?);
    let [width, height] = fixed(&numbers("resolution", 2)?);
    let k = if distortion == "radtan" { numbers("distortion_coeffs", 4)? } else { Vec::new() };
    Ok(Imported {
        kind: "Kalibr",
        camera: text(cam, "rostopic").map(str::to_owned),
        intrinsics: lens([width, height], [fx, fy, cx, cy], &k, "distortion_coeffs")?,
    })
}

fn ros(root: &Yaml<'_>) -> Result<Imported, ImportError> {
    plumb_bob(root)?;
    let matrix = matrix(root, "camera_matrix")?;
    let k = get(root, "distortion_coefficients").and_then(|m| get(m, "data").or(Some(m)));
    let k = k.map(all_numbers).unwrap_or_default();
    Ok(Imported {
        kind: "ROS camera_info",
        camera: text(root, "camera_name").map(str::to_owned),
        intrinsics: lens(size(root, "image_width", "image_height")?, matrix, &k, "d")?,
    })
}

fn ros_message(root: &Yaml<'_>, k: &Yaml<'_>) -> Result<Imported, ImportError> {
    plumb_bob(root)?;
    let matrix = of_nine("k", &all_numbers(k))?;
    let d = get(root, "d").or(get(root, "D")).map(all_numbers).unwrap_or_default();
    let header = get(root, "header");
    Ok(Imported {
        kind: "ROS camera_info message",
        camera: header.and_then(|h| text(h, "frame_id")).map(str::to_owned),
        intrinsics: lens(size(root, "width", "height")?, matrix, &d, "d")?,
    })
}

fn plumb_bob(root: &Yaml<'_>) -> Result<(), ImportError> {
    match text(root, "distortion_model").unwrap_or("plumb_bob") {
        // Rational polynomials without a denominator are ours; `lens` looks at the numbers.
        "plumb_bob" | "rational_polynomial" | "" => Ok(()),
        other => Err(ImportError::Model(other.to_owned())),
    }
}

fn opencv(root: &Yaml<'_>) -> Result<Imported, ImportError> {
    let names = ["camera_matrix", "cameraMatrix", "Camera_Matrix", "K", "M1", "mtx"];
    let name = names.iter().find(|n| get(root, n).is_some()).ok_or(ImportError::Kind)?;
    let names =
        ["distortion_coefficients", "distCoeffs", "Distortion_Coefficients", "D", "D1", "dist"];
    let coefficients = names.iter().find_map(|n| get(root, n));
    let k = coefficients.and_then(|m| get(m, "data").or(Some(m)));
    let k = k.map(all_numbers).unwrap_or_default();
    if text(root, "fisheye_model").is_some_and(|v| v == "1") {
        return Err(ImportError::Model("OpenCV fisheye".into()));
    }
    let pairs =
        [("image_width", "image_height"), ("image_Width", "image_Height"), ("width", "height")];
    let size = match pairs.iter().find(|(w, _)| get(root, w).is_some()) {
        Some((w, h)) => size(root, w, h)?,
        None => {
            let both = ["image_size", "imageSize", "size"];
            let both = both.iter().find_map(|n| get(root, n)).map(all_numbers).unwrap_or_default();
            if both.len() != 2 {
                return Err(ImportError::Field(
                    "the picture's size is not given: add image_width and image_height, a \
                     calibration holds for one size only"
                        .into(),
                ));
            }
            fixed(&both)
        }
    };
    let matrix = matrix(root, name)?;
    let camera = text(root, "camera_name").map(str::to_owned);
    Ok(Imported {
        kind: "OpenCV",
        camera,
        intrinsics: lens(size, matrix, &k, "distortion_coefficients")?,
    })
}

/// fx, fy, cx, cy of a 3 x 3 matrix, as OpenCV and ROS write them.
fn matrix(root: &Yaml<'_>, name: &str) -> Result<[f64; 4], ImportError> {
    let field = get(root, name).ok_or(ImportError::Kind)?;
    of_nine(name, &all_numbers(get(field, "data").unwrap_or(field)))
}

fn of_nine(name: &str, numbers: &[f64]) -> Result<[f64; 4], ImportError> {
    let &[fx, skew, cx, _, fy, cy, _, _, one] = numbers else {
        return Err(ImportError::Field(format!("{name} must have 3 x 3 numbers")));
    };
    if skew.abs() > 1e-6 * fx.abs() || (one - 1.0).abs() > 1e-9 {
        return Err(ImportError::Field(format!("{name} has a skew, or its last element is not 1")));
    }
    Ok([fx, fy, cx, cy])
}

fn size(root: &Yaml<'_>, width: &str, height: &str) -> Result<[f64; 2], ImportError> {
    let number = |key: &str| {
        get(root, key)
            .and_then(number)
            .ok_or_else(|| ImportError::Field(format!("{key} is missing or no number")))
    };
    Ok([number(width)?, number(height)?])
}

fn lens(
    [width, height]: [f64; 2],
    [fx, fy, cx, cy]: [f64; 4],
    k: &[f64],
    name: &str,
) -> Result<Intrinsics, ImportError> {
    let pixels = |v: f64| {
        if (1.0..=65_536.0).contains(&v) && v.fract() == 0.0 {
            Ok(v as u32)
        } else {
            Err(ImportError::Field(format!("{v} is no size of a picture")))
        }
    };
    let mut distortion = [0.0; 5];
    for (to, from) in distortion.iter_mut().zip(k) {
        *to = *from;
    }
    // k4 and on: the rational, thin-prism and tilted models.
    if let Some(more) = k.get(5..).filter(|more| more.iter().any(|v| *v != 0.0)) {
        return Err(ImportError::Model(format!("with {} coefficients in {name}", 5 + more.len())));
    }
    Ok(Intrinsics { width: pixels(width)?, height: pixels(height)?, fx, fy, cx, cy, distortion })
}

fn fixed<const N: usize>(numbers: &[f64]) -> [f64; N] {
    std::array::from_fn(|i| numbers.get(i).copied().unwrap_or(f64::NAN))
}

/// Without a tag: OpenCV's matrices are `!!opencv-matrix`.
fn plain<'a, 'b>(node: &'a Yaml<'b>) -> &'a Yaml<'b> {
    match node {
        Yaml::Tagged(_, inner) => plain(inner),
        node => node,
    }
}

fn get<'a, 'b>(node: &'a Yaml<'b>, key: &str) -> Option<&'a Yaml<'b>> {
    let node = plain(node);
    node.as_mapping()?.iter().find(|(k, _)| k.as_str() == Some(key)).map(|(_, v)| plain(v))
}

fn text<'a>(node: &'a Yaml<'_>, key: &str) -> Option<&'a str> {
    get(node, key)?.as_str()
}

fn number(node: &Yaml<'_>) -> Option<f64> {
    let node = plain(node);
    node.as_floating_point().or_else(|| node.as_integer().map(|i| i as f64))
}

/// Numbers of a list, or of a list of lists, in order; none if anything else is among them.
fn all_numbers(node: &Yaml<'_>) -> Vec<f64> {
    let Some(items) = plain(node).as_sequence() else { return Vec::new() };
    let mut numbers = Vec::new();
    for item in items {
        match number(item) {
            Some(v) => numbers.push(v),
            None if plain(item).as_sequence().is_some() => numbers.extend(all_numbers(item)),
            None => return Vec::new(),
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `cv::FileStorage` of OpenCV 4 writes it.
    const OPENCV: &str = "%YAML:1.0\n---\nimage_width: 640\nimage_height: 480\n\
        camera_matrix: !!opencv-matrix\n   rows: 3\n   cols: 3\n   dt: d\n   \
        data: [ 6.1e+02, 0., 3.2e+02, 0., 6.05e+02, 2.41e+02, 0., 0., 1. ]\n\
        distortion_coefficients: !!opencv-matrix\n   rows: 5\n   cols: 1\n   dt: d\n   \
        data: [ -2.1e-01, 8.0e-02, 1.0e-03, -2.0e-03, 0. ]\n\
        avg_reprojection_error: 2.0e-01\n";

    const ROS: &str = "image_width: 640\nimage_height: 480\ncamera_name: front\n\
        camera_matrix:\n  rows: 3\n  cols: 3\n  data: [610, 0, 320, 0, 605, 241, 0, 0, 1]\n\
        distortion_model: plumb_bob\n\
        distortion_coefficients:\n  rows: 1\n  cols: 5\n  data: [-0.21, 0.08, 0.001, -0.002, 0]\n\
        rectification_matrix:\n  rows: 3\n  cols: 3\n  data: [1, 0, 0, 0, 1, 0, 0, 0, 1]\n";

    const MESSAGE: &str = "header:\n  stamp:\n    sec: 1\n    nanosec: 2\n  frame_id: front\n\
        height: 480\nwidth: 640\ndistortion_model: plumb_bob\nd:\n- -0.21\n- 0.08\n- 0.001\n\
        - -0.002\n- 0.0\nk:\n- 610.0\n- 0.0\n- 320.0\n- 0.0\n- 605.0\n- 241.0\n- 0.0\n- 0.0\n\
        - 1.0\n---\n";

    const KALIBR: &str = "cam0:\n  cam_overlaps: []\n  camera_model: pinhole\n  \
        distortion_coeffs: [-0.21, 0.08, 0.001, -0.002]\n  distortion_model: radtan\n  \
        intrinsics: [610.0, 605.0, 320.0, 241.0]\n  resolution: [640, 480]\n  rostopic: front\n";

    #[test]
    fn the_same_lens_comes_out_of_all_four() {
        for (text, kind) in [
            (OPENCV, "OpenCV"),
            (ROS, "ROS camera_info"),
            (MESSAGE, "ROS camera_info message"),
            (KALIBR, "Kalibr"),
        ] {
            let read = parse(text).unwrap_or_else(|e| panic!("{kind}: {e}"));
            assert_eq!(read.kind, kind);
            let wanted = Intrinsics {
                width: 640,
                height: 480,
                fx: 610.0,
                fy: 605.0,
                cx: 320.0,
                cy: 241.0,
                distortion: [-0.21, 0.08, 0.001, -0.002, 0.0],
            };
            assert_eq!(read.intrinsics, wanted, "{kind}");
        }
    }

    #[test]
    fn other_lens_models_are_refused_by_name() {
        for (text, name) in [
            (KALIBR.replace("radtan", "equidistant"), "equidistant"),
            (KALIBR.replace("pinhole", "omni"), "omni"),
            (ROS.replace("plumb_bob", "equidistant"), "equidistant"),
            (
                ROS.replace("plumb_bob", "rational_polynomial")
                    .replace("-0.002, 0]", "-0.002, 0, 0.3, 0, 0]"),
                "8 coefficients",
            ),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(matches!(&error, ImportError::Model(m) if m.contains(name)), "{error}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = parse(&OPENCV.replace("image_width", "image_breadth")).unwrap_err();
        assert!(error.to_string().contains("image_width"), "{error}");
        let error = parse(&OPENCV.replace("0., 0., 1. ]", "0., 0. ]")).unwrap_err();
        assert!(error.to_string().contains("3 x 3"), "{error}");
        assert_eq!(parse("a: 1\n"), Err(ImportError::Kind));
        assert_eq!(parse(""), Err(ImportError::Kind));
        assert!(matches!(parse("a: [1,\n"), Err(ImportError::Yaml(_))));
    }
}
