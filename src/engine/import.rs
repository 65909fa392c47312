//! A manifest for a public ONNX file: its family says how pixels go in and how outputs are read,
//! the graph itself says names and sizes.

use std::fmt::Write;
use std::path::Path;

use super::catalog::Beside;
use super::spec::{ModelSpec, hex, sha256};
use super::tract::{Interface, interface};
use super::{EngineError, manifest};

/// A family of models that are fed and read alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Family {
    /// RTMPose and other SimCC models of MMPose: two vectors per keypoint
    Rtmpose,
    /// PP-TinyPose and other heatmap models of PaddleDetection
    Tinypose,
    /// HRNet, SimpleBaseline, LiteHRNet, ViTPose: heatmap models of MMPose
    Heatmap,
    /// RTMDet with one class and raw heads: a map of scores and one of distances per stride
    Rtmdet,
}

/// What the graph does not say.
#[derive(Clone, Debug)]
pub struct Import<'a> {
    /// How it is fed and read.
    pub family: Family,
    /// Its name; the file's, without ending, if none is given.
    pub name: Option<&'a str>,
    /// Width and height of the input, where the graph leaves them open.
    pub size: Option<(usize, usize)>,
    /// Its publisher's licence.
    pub licence: &'a str,
    /// May it be used commercially?
    pub commercial: bool,
}

/// ImageNet's statistics, 0..255, red first.
const MEAN: &str = "[123.675, 116.28, 103.53]";
const STD: &str = "[58.395, 57.12, 57.375]";

/// The text of a manifest for the ONNX file at `onnx`, and what it says.
///
/// # Errors
/// If the file is no network, or not one of that family, with what it is instead.
pub fn describe(onnx: &Path, how: &Import) -> Result<(String, ModelSpec), EngineError> {
    let shown = onnx.display().to_string();
    let trouble = |problem: String| EngineError::Model { model: shown.clone(), problem };
    let bytes = std::fs::read(onnx).map_err(|e| trouble(format!("cannot be read: {e}")))?;
    let file = onnx
        .file_name()
        .and_then(|n| n.to_str())
        .ok_or_else(|| trouble("has no usable file name; rename it".to_owned()))?;
    let graph = interface(&bytes, how.size).map_err(trouble)?;
    let decoder = decoder(&graph, how.family).map_err(trouble)?;
    let name = how.name.unwrap_or_else(|| file.strip_suffix(".onnx").unwrap_or(file));
    let (kind, extra) = match how.family {
        Family::Rtmdet => ("finder", ""),
        _ => ("keypoints", "skeleton = \"coco17\"\ncrop_scale = 1.25\n"),
    };
    let (channels, mean, std, rest) = match how.family {
        Family::Rtmdet => (
            "bgr",
            "[103.53, 116.28, 123.675]",
            "[57.375, 57.12, 58.395]",
            "letterbox = \"top-left\"\npad = 114\n",
        ),
        _ => ("rgb", MEAN, STD, ""),
    };
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "# Written by `posewire models import`. What the file does not say is how its family \
         usually is: check the\n# licence, and the numbers of [input] and [decoder], against its \
         publisher's.\n\
         name = {}\nkind = \"{kind}\"\nfile = {}\nsha256 = \"{}\"\nlicence = {}\n\
         commercial = {}\ntraining_data = \"not known: see its publisher\"\n\
         trained = \"by its publisher\"\n{extra}\n\
         [input]\nname = {}\nwidth = {}\nheight = {}\nchannels = \"{channels}\"\nmean = {mean}\n\
         std = {std}\nlayout = \"nchw\"\n{rest}\n{decoder}",
        quoted(name),
        quoted(file),
        hex(&sha256(&bytes)),
        quoted(how.licence),
        how.commercial,
        quoted(&graph.input),
        graph.width,
        graph.height,
    );
    let spec = manifest::read(&shown, &text, &Beside(onnx.parent().unwrap_or(Path::new("."))))?;
    Ok((text, spec))
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// The manifest's `[decoder]`.
fn decoder(graph: &Interface, family: Family) -> Result<String, String> {
    let not_so = |wanted: &str| {
        let has: Vec<_> = graph.outputs.iter().map(|(n, s)| format!("{n:?} {s:?}")).collect();
        format!(
            "is not of this family: {wanted} wanted, and it has {}; try another --as, or write a \
             manifest by hand",
            has.join(", ")
        )
    };
    let (w, h) = (graph.width, graph.height);
    match family {
        Family::Rtmpose => {
            // Two outputs [1, 17, n]: the shorter one is that of the shorter side.
            let [(a, sa), (b, sb)] = graph.outputs.as_slice() else {
                return Err(not_so("two outputs [1, 17, bins]"));
            };
            let (&[1, 17, na], &[1, 17, nb]) = (sa.as_slice(), sb.as_slice()) else {
                return Err(not_so("two outputs [1, 17, bins]"));
            };
            let fits = |x: usize, y: usize| x * h == y * w;
            let (x, y, bins) = match (fits(na, nb), fits(nb, na)) {
                (true, _) => (a, b, na),
                (_, true) => (b, a, nb),
                _ => return Err(not_so(&format!("bins in the ratio of {w} to {h}"))),
            };
            Ok(format!(
                "[decoder]\ntype = \"simcc\"\nx = {}\ny = {}\nsplit_ratio = {:?}\n\
                 score_threshold = 0.3\n",
                quoted(x),
                quoted(y),
                bins as f64 / w as f64
            ))
        }
        Family::Tinypose | Family::Heatmap => {
            let maps = graph.outputs.iter().find_map(|(name, shape)| match shape.as_slice() {
                &[1, 17, mh, mw] if mh > 0 && h % mh == 0 && w == h / mh * mw => {
                    Some((name, h / mh))
                }
                _ => None,
            });
            let Some((name, stride)) = maps else {
                return Err(not_so(&format!("heatmaps [1, 17, {h} / s, {w} / s]")));
            };
            let blur = if family == Family::Tinypose { 3 } else { 11 };
            // Both frameworks count cells and pixels from their centres: cell i is pixel s * i.
            Ok(format!(
                "[decoder]\ntype = \"heatmap\"\nheatmaps = {}\nstride = {stride}\nrefine = \
                 \"dark\"\nblur = {blur}\ncell_offset = {:?}\nscore_threshold = 0.3\n",
                quoted(name),
                0.5 / stride as f64
            ))
        }
        Family::Rtmdet => {
            let mut levels: Vec<(usize, Option<&str>, Option<&str>)> = Vec::new();
            for (name, shape) in &graph.outputs {
                let &[1, c @ (1 | 4), mh, mw] = shape.as_slice() else { continue };
                if mh == 0 || !h.is_multiple_of(mh) || w != h / mh * mw {
                    continue;
                }
                let stride = h / mh;
                let k = levels.iter().position(|l| l.0 == stride).unwrap_or_else(|| {
                    levels.push((stride, None, None));
                    levels.len() - 1
                });
                let slot = if c == 1 { &mut levels[k].1 } else { &mut levels[k].2 };
                *slot = Some(name);
            }
            levels.sort_unstable_by_key(|l| l.0);
            let complete: Option<Vec<_>> = levels
                .iter()
                .map(|(s, a, b)| Some((s.to_string(), quoted((*a)?), quoted((*b)?))))
                .collect();
            let Some(levels) = complete.filter(|l| !l.is_empty()) else {
                return Err(not_so(
                    "per stride one map of scores [1, 1, h, w] and one of distances [1, 4, h, w]",
                ));
            };
            let list = |f: fn(&(String, String, String)) -> &String| {
                levels.iter().map(|l| f(l).as_str()).collect::<Vec<_>>().join(", ")
            };
            Ok(format!(
                "[decoder]\ntype = \"anchor-free\"\nstrides = [{}]\nscores = [{}]\nboxes = [{}]\n\
                 distances = \"pixels\"\nactivation = \"sigmoid\"\ncell_offset = 0.0\n\
                 score_threshold = 0.3\nnms_iou = 0.6\n",
                list(|l| &l.0),
                list(|l| &l.1),
                list(|l| &l.2)
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Backend, Precision, tiny, tract::Tract};

    fn how(family: Family) -> Import<'static> {
        Import { family, name: None, size: None, licence: "Apache-2.0", commercial: true }
    }

    #[test]
    fn public_files_become_what_their_known_manifests_say() {
        let Some(dir) = tiny::shared_data("models") else { return };
        let catalog = crate::engine::Catalog::with_dir(&dir).unwrap();
        for (file, family) in
            [("tinypose_256_192", Family::Tinypose), ("rtmdetnp_morgan322", Family::Rtmdet)]
        {
            let (_, spec) = describe(&dir.join(format!("{file}.onnx")), &how(family)).unwrap();
            let known = catalog.models().find(|m| m.name == file);
            match (&spec.task, known.map(|m| &m.task)) {
                // The known manifest says what padding our measurements were made with.
                (
                    super::super::spec::Task::Keypoints(a),
                    Some(super::super::spec::Task::Keypoints(b)),
                ) => {
                    assert_eq!((&a.decoder, &a.input), (&b.decoder, &b.input), "{file}");
                }
                (a, b) => assert_eq!(Some(a), b, "{file}"),
            }
            Tract.load(&spec, Precision::F32, 1).map(drop).unwrap();
        }
        let said = describe(&dir.join("tinypose_256_192.onnx"), &how(Family::Rtmpose)).unwrap_err();
        assert!(said.to_string().contains("two outputs"), "{said}");
    }

    #[test]
    fn a_simcc_network_says_its_own_bins_and_sides() {
        let graph = |outputs: &[(&str, [usize; 3])]| Interface {
            input: "input".to_owned(),
            width: 192,
            height: 256,
            outputs: outputs.iter().map(|(n, s)| ((*n).to_owned(), s.to_vec())).collect(),
        };
        let swapped = graph(&[("v", [1, 17, 512]), ("u", [1, 17, 384])]);
        let text = decoder(&swapped, Family::Rtmpose).unwrap();
        assert!(
            text.contains("x = \"u\"")
                && text.contains("y = \"v\"")
                && text.contains("split_ratio = 2.0"),
            "{text}"
        );
        let hand = graph(&[("x", [1, 21, 384]), ("y", [1, 21, 512])]);
        assert!(decoder(&hand, Family::Rtmpose).unwrap_err().contains("[1, 21, 384]"));
    }

    #[test]
    fn what_is_no_network_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("page.onnx");
        std::fs::write(&path, b"<html>404</html>").unwrap();
        let said = describe(&path, &how(Family::Heatmap)).unwrap_err().to_string();
        assert!(said.contains("page.onnx") && said.contains("not an ONNX file"), "{said}");
    }
}
