use super::*;
use crate::engine::{Backend, Precision, tiny, tract::Tract};

fn how(family: Family) -> Import<'static> {
    Import { family, name: None, size: None, licence: Some("Apache-2.0"), commercial: true }
}

#[test]
fn public_files_become_what_their_known_manifests_say() {
    let Some(dir) = tiny::shared_data("models") else { return };
    let catalog = crate::engine::Catalog::with_dir(&dir).unwrap();
    for (file, family) in
        [("tinypose_256_192", Family::Tinypose), ("rtmdetnp_morgan322", Family::Rtmdet)]
    {
        let spec = describe(&dir.join(format!("{file}.onnx")), &how(family)).unwrap().spec;
        let known = catalog.models().find(|m| m.name == file);
        match (&spec.task, known.map(|m| &m.task)) {
            // The known manifest says what padding our measurements were made with.
            (
                crate::engine::spec::Task::Keypoints(a),
                Some(crate::engine::spec::Task::Keypoints(b)),
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
    let text = reading(&swapped, Family::Rtmpose).unwrap().decoder;
    assert!(
        text.contains("x = \"u\"")
            && text.contains("y = \"v\"")
            && text.contains("split_ratio = 2.0"),
        "{text}"
    );
    let hand = graph(&[("x", [1, 21, 384]), ("y", [1, 21, 512])]);
    assert!(reading(&hand, Family::Rtmpose).err().unwrap().contains("[1, 21, 384]"));
}

#[test]
fn what_is_no_network_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("page.onnx");
    std::fs::write(&path, b"<html>404</html>").unwrap();
    let said = describe(&path, &how(Family::Heatmap)).unwrap_err().to_string();
    assert!(said.contains("page.onnx") && said.contains("not an ONNX file"), "{said}");
}

fn graph(outputs: &[(&str, &[usize])]) -> Interface {
    Interface {
        input: "images".to_owned(),
        width: 640,
        height: 640,
        outputs: outputs.iter().map(|(n, s)| ((*n).to_owned(), s.to_vec())).collect(),
    }
}

#[test]
fn one_stage_networks_are_told_apart_by_their_shapes() {
    for (family, outputs, kind, words) in [
        (Family::YoloPose, graph(&[("o", &[1, 56, 8400])]), ModelKind::OneStage, "\"yolo-pose\""),
        (Family::YoloPose, graph(&[("o", &[1, 300, 57])]), ModelKind::OneStage, "pose-rows\""),
        (
            Family::Rtmo,
            graph(&[("keypoints", &[1, 50, 17, 3]), ("dets", &[1, 50, 5])]),
            ModelKind::OneStage,
            "dets = \"dets\"\nkeypoints = \"keypoints\"\ncount = 50",
        ),
        (Family::Movenet, graph(&[("o", &[1, 1, 17, 3])]), ModelKind::Keypoints, "coordinates"),
        (Family::Movenet, graph(&[("o", &[1, 6, 56])]), ModelKind::OneStage, "count = 6"),
    ] {
        let reading = reading(&outputs, family).unwrap();
        assert_eq!(reading.kind, kind);
        assert!(reading.decoder.contains(words), "{}", reading.decoder);
    }
    for (family, outputs, words) in [
        (Family::YoloPose, graph(&[("o", &[1, 84, 8400])]), "[1, 56, N]"),
        (Family::YoloPose, graph(&[("o", &[1, 0, 57])]), "nms=False"),
        (Family::Rtmo, graph(&[("dets", &[1, 0, 5]), ("k", &[1, 0, 17, 3])]), "fixed size"),
        (Family::YoloxPose, graph(&[("dets", &[1, 9, 5]), ("k", &[1, 8, 17, 3])]), "as many"),
        (Family::YoloxPose, graph(&[("dets", &[1, 9, 5])]), "[1, N, 17, 3]"),
        (Family::Movenet, graph(&[("o", &[1, 1, 17, 2])]), "[1, 6, 56]"),
    ] {
        let said = reading(&outputs, family).err().unwrap();
        assert!(said.contains(words), "{said}");
    }
}
