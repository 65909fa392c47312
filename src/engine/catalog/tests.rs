use super::*;
use crate::engine::tiny;

#[test]
fn every_shipped_and_known_manifest_is_valid() {
    let catalog = Catalog::embedded().unwrap();
    assert_eq!(catalog.models().count(), EMBEDDED.len());
    for spec in catalog.models() {
        spec.bytes().unwrap();
    }
    for (file, text) in KNOWN {
        manifest::read(file, text, &Found("x.onnx".into())).unwrap();
    }
}

fn put(dir: &Path, name: &str, onnx: &[u8]) {
    std::fs::write(dir.join(format!("{name}.onnx")), onnx).unwrap();
    std::fs::write(dir.join(format!("{name}.toml")), tiny::manifest(name, onnx)).unwrap();
}

#[test]
fn a_directory_gives_its_only_model_and_asks_for_a_name_when_there_are_two() {
    let dir = tempfile::tempdir().unwrap();
    let onnx = tiny::mean_over_frames(9);
    put(dir.path(), "first", &onnx);
    let one = Catalog::with_dir(dir.path()).unwrap();
    assert_eq!(one.pick(ModelKind::Lifter, None).unwrap().name, "first");

    put(dir.path(), "second", &onnx);
    let two = Catalog::with_dir(dir.path()).unwrap();
    let said = two.pick(ModelKind::Lifter, None).unwrap_err().to_string();
    assert!(said.contains("several") && said.contains("first, second"), "{said}");
    assert_eq!(two.pick(ModelKind::Lifter, Some("second")).unwrap().name, "second");
    let said = two.pick(ModelKind::Lifter, Some("third")).unwrap_err().to_string();
    assert!(said.contains("\"third\"") && said.contains("first, second"), "{said}");
    let said = two.pick(ModelKind::Finder, Some("first")).unwrap_err().to_string();
    assert!(said.contains("it is a lifter model"), "{said}");
}

fn one_stage(dir: &Path, name: &str) {
    let manifest = include_str!("../../../tests/data/onestage/unread.toml")
        .replace("\"one\"", &format!("{name:?}"))
        .replace("one.onnx", &format!("{name}.onnx"));
    std::fs::write(dir.join(format!("{name}.toml")), manifest).unwrap();
}

#[test]
fn a_detector_is_two_networks_or_one() {
    let chosen = |catalog: &Catalog, names| -> Result<Vec<String>, String> {
        let models = catalog.detector(names).map_err(|e| e.to_string())?;
        Ok(models.all().map(|m| m.name.clone()).collect())
    };
    let none = DetectorNames::default();
    let two = ["posewire-finder".to_owned(), "posewire-keypoints".to_owned()];
    assert_eq!(chosen(&Catalog::embedded().unwrap(), none).unwrap(), two);

    let dir = tempfile::tempdir().unwrap();
    one_stage(dir.path(), "one");
    let catalog = Catalog::with_dir(dir.path()).unwrap();
    assert_eq!(chosen(&catalog, none).unwrap(), ["one"]);
    let small = DetectorNames { keypoints: Some("posewire-keypoints-small"), ..none };
    assert_eq!(chosen(&catalog, small).unwrap(), ["posewire-finder", "posewire-keypoints-small"]);
    let both = DetectorNames { one_stage: Some("one"), ..small };
    assert!(chosen(&catalog, both).unwrap_err().contains("either it or them"));

    one_stage(dir.path(), "other");
    let catalog = Catalog::with_dir(dir.path()).unwrap();
    assert!(chosen(&catalog, none).unwrap_err().contains("name one: one, other"));
    let named = DetectorNames { one_stage: Some("other"), ..none };
    assert_eq!(chosen(&catalog, named).unwrap(), ["other"]);
}

#[test]
fn a_directory_without_models_says_what_to_put_there() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("stranger.onnx"), b"?").unwrap();
    let said = Catalog::with_dir(dir.path()).unwrap_err().to_string();
    assert!(said.contains("none of its 1 ONNX files") && said.contains("manifest"), "{said}");
    let gone = Catalog::with_dir(&dir.path().join("gone")).unwrap_err().to_string();
    assert!(gone.contains("cannot be read"), "{gone}");
}

#[test]
fn a_missing_file_and_a_changed_file_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "m", &tiny::mean_over_frames(9));
    let catalog = Catalog::with_dir(dir.path()).unwrap();
    let spec = catalog.pick(ModelKind::Lifter, None).unwrap();
    spec.bytes().unwrap();

    std::fs::write(dir.path().join("m.onnx"), b"something else").unwrap();
    let said = spec.bytes().unwrap_err().to_string();
    assert!(said.contains("SHA-256") && said.contains("m.toml"), "{said}");

    std::fs::remove_file(dir.path().join("m.onnx")).unwrap();
    let said = spec.bytes().unwrap_err().to_string();
    assert!(said.contains("cannot be read") && said.contains("m.onnx"), "{said}");
}

#[test]
fn public_files_are_recognised_by_their_hash_alone() {
    let Some(dir) = crate::engine::tiny::shared_data("models") else { return };
    let catalog = Catalog::with_dir(&dir).unwrap();
    let finder = catalog.pick(ModelKind::Finder, None).unwrap();
    assert_eq!(finder.name, "rtmdet_nano_HW140701");
    let keypoints = catalog.pick(ModelKind::Keypoints, None).unwrap();
    assert_eq!(keypoints.name, "tinypose_256_192");
}
