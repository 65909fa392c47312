use super::*;

struct Any;

impl Files for Any {
    fn asset(&self, name: &str) -> Option<Asset> {
        Some(Asset::File(name.into()))
    }
}

const KEYPOINTS: &str = r#"
name = "k"
kind = "keypoints"
file = "k.onnx"
sha256 = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
licence = "MIT"
commercial = true
training_data = "none"
trained = { date = "2026-01-01", command = "make", weights = "random" }
skeleton = "coco17"
crop_scale = 1.25

[input]
name = "image"
width = 192
height = 256
channels = "bgr"
mean = [1.0, 2.0, 3.0]
std = [4.0, 5.0, 6.0]
layout = "nchw"
pad = 114

[decoder]
type = "heatmap"
heatmaps = "maps"
stride = 4
refine = "dark"
score_threshold = 0.3

[error]
pck = 0.9
"#;

fn told(text: &str) -> String {
    read("k.toml", text, &Any).unwrap_err().to_string()
}

#[test]
fn a_manifest_becomes_tensors_and_a_decoder() {
    let spec = read("k.toml", KEYPOINTS, &Any).unwrap();
    assert_eq!(spec.sha256[..3], [0x00, 0x11, 0x22]);
    assert_eq!(spec.trained, "2026-01-01: make (random)");
    assert_eq!(spec.measured["pck"].as_float(), Some(0.9));
    let input = &spec.inputs(2)[0];
    assert_eq!((input.name.as_str(), &input.shape[..]), ("image", &[2, 3, 256, 192][..]));
    let output = &spec.outputs(2)[0];
    assert_eq!((output.name.as_str(), &output.shape[..]), ("maps", &[2, 17, 64, 48][..]));
    let k = spec.keypoints().unwrap();
    assert_eq!((k.input.mean, k.input.std), ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]));
    assert!(spec.lifter().unwrap_err().to_string().contains("it is a keypoints model"));
}

#[test]
fn each_mistake_is_named_with_its_key() {
    let cases = [
        ("crop_scale = 1.25", "crop_size = 1.25", "crop_size"),
        ("width = 192", "width = \"192\"", "input.width"),
        ("width = 192", "width = 190", "decoder.stride"),
        ("pad = 114", "padding = 114", "input.padding"),
        ("mean = [1.0, 2.0, 3.0]", "mean = [1.0]", "input.mean"),
        ("std = [4.0, 5.0, 6.0]", "std = [4.0, 0.0, 6.0]", "input.std"),
        ("stride = 4", "stride = 4\nsplit_ratio = 2.0", "decoder.split_ratio"),
        ("refine = \"dark\"", "refine = \"darkish\"", "decoder.refine"),
        ("type = \"heatmap\"", "type = \"boxes\"", "decoder.type"),
        ("kind = \"keypoints\"", "kind = \"keypoint\"", "kind"),
        ("kind = \"keypoints\"", "kind = \"finder\"", "skeleton"),
        ("0011", "0g11", "sha256"),
        ("skeleton = \"coco17\"", "", "skeleton"),
    ];
    for (right, wrong, key) in cases {
        let text = KEYPOINTS.replacen(right, wrong, 1);
        assert_ne!(text, KEYPOINTS, "{right}");
        let said = told(&text);
        assert!(said.contains("k.toml") && said.contains(key), "{wrong}: {said}");
    }
    let said = told("name = \"x\"\nkind = = 3");
    assert!(said.contains("line 2"), "{said}");
}

#[test]
fn a_lifter_says_its_window_rate_and_units() {
    let text = crate::engine::tiny::manifest("l", b"");
    let spec = read("l.toml", &text, &Any).unwrap();
    let l = spec.lifter().unwrap();
    assert_eq!((l.frames, l.features, l.context, l.lookahead), (9, 3, 0, 0));
    assert_eq!(spec.inputs(3)[0].shape, [3, 9, 17, 3]);
    let context = text.replace("context = 0", "context = 4");
    assert!(told(&context).contains("input.context"));
    let future = text.replace("lookahead = 0", "lookahead = 9");
    assert!(told(&future).contains("input.lookahead"));
    let units = text.replace("units = \"m\"", "units = \"mm\"");
    assert!(told(&units).contains("output.units"), "{}", told(&units));
}
