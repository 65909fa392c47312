//! Manifests as written (TOML) and their way to a checked [`ModelSpec`].
//!
//! Two steps: serde reads what is written and refuses unknown keys; `check` turns it into types
//! that cannot hold nonsense. Each error names the file, the key and the remedy.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::EngineError;
use super::spec::*;
use crate::skeleton::{JOINTS, Skeleton};

/// The keys of every manifest; the tables depend on `kind`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    kind: ModelKind,
    file: String,
    sha256: String,
    licence: String,
    commercial: bool,
    training_data: String,
    trained: Trained,
    card: Option<String>,
    golden: Option<String>,
    skeleton: Option<Skeleton>,
    crop_scale: Option<f32>,
    source: Option<Source>,
    input: Table,
    output: Option<Table>,
    decoder: Option<Table>,
    streaming: Option<WrittenStreaming>,
    #[serde(default)]
    error: Table,
    #[serde(default)]
    cost: Table,
    /// For the record.
    #[serde(default)]
    architecture: Table,
}

/// The graphs of a lifter that is evaluated slot by slot.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenStreaming {
    frame: String,
    frame_sha256: String,
    window: String,
    window_sha256: String,
    slot: usize,
}

/// A table with at least a date and a command, or words.
#[derive(Deserialize)]
#[serde(untagged)]
enum Trained {
    Words(String),
    How {
        date: String,
        command: String,
        #[serde(default)]
        weights: Option<String>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenImage {
    name: String,
    width: usize,
    height: usize,
    channels: Channels,
    mean: Vec<f32>,
    std: Vec<f32>,
    layout: Layout,
    #[serde(default)]
    pad: f32,
    letterbox: Option<Letterbox>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Layout {
    Nchw,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenLifterInput {
    window: [usize; 3],
    #[serde(default)]
    context: usize,
    rate_hz: f64,
    #[serde(default)]
    lookahead: u32,
    /// All that may be asked for; only `lookahead` where it is not given.
    lookaheads: Option<Vec<u32>>,
    skeleton: Skeleton,
    normalisation: Normalisation,
    order: Option<Order>,
}

/// In which order the window's slots lie. It follows from the normalisation; it is written for
/// the reader, and must not contradict.
#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Order {
    NewestFirst,
    OldestFirst,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenLifterOutput {
    skeleton: Skeleton,
    #[expect(dead_code, reason = "there is one unit today; naming it is what matters")]
    units: Units,
    /// Stature of the body that answers are scaled to.
    #[serde(default = "adult")]
    body_height_m: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Units {
    M,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenBoxes {
    dets: String,
    labels: Option<String>,
    count: usize,
    #[serde(default)]
    person: usize,
    score_threshold: f32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenAnchorFree {
    strides: Vec<usize>,
    scores: OneOrMany,
    boxes: OneOrMany,
    distances: DistanceUnit,
    #[serde(default)]
    activation: Activation,
    #[serde(default = "one")]
    classes: usize,
    #[serde(default)]
    person: usize,
    #[serde(default = "half")]
    cell_offset: f32,
    score_threshold: f32,
    nms_iou: f32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenHeatmap {
    heatmaps: String,
    stride: usize,
    refine: Refine,
    #[serde(default)]
    blur: usize,
    /// Of the training targets, in cells: said for the record, no decoder needs it.
    #[serde(default)]
    #[expect(dead_code, reason = "for the record")]
    sigma: Option<f32>,
    #[serde(default)]
    activation: Activation,
    #[serde(default = "half")]
    cell_offset: f32,
    score_threshold: f32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSimCc {
    x: String,
    y: String,
    split_ratio: f32,
    #[serde(default)]
    activation: Activation,
    score_threshold: f32,
}

/// A tensor's name, or one per level.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(name) => vec![name],
            Self::Many(names) => names,
        }
    }
}

fn one() -> usize {
    1
}

/// Stature of the bodies that our lifters are trained on (`models/train/lifter/mocap.py`).
fn adult() -> f64 {
    1.72
}

fn half() -> f32 {
    0.5
}

/// What is wrong, and where.
struct Problem(String);

type Checked<T> = Result<T, Problem>;

fn wrong<T>(key: &str, why: impl std::fmt::Display) -> Checked<T> {
    Err(Problem(format!("key `{key}`: {why}")))
}

/// Where a manifest's files are found.
pub(super) trait Files {
    /// The asset that the manifest calls `name`.
    fn asset(&self, name: &str) -> Option<Asset>;
}

/// Reads a manifest. `file` is its name in messages.
pub(super) fn read(file: &str, text: &str, files: &dyn Files) -> Result<ModelSpec, EngineError> {
    parse(file, text, files)
        .map_err(|Problem(problem)| EngineError::Manifest { file: file.to_owned(), problem })
}

fn parse(file: &str, text: &str, files: &dyn Files) -> Checked<ModelSpec> {
    let table: Table = toml::from_str(text).map_err(|e| {
        let line = e.span().map_or(1, |s| 1 + text[..s.start].matches('\n').count());
        Problem(format!("line {line}: {}", e.message()))
    })?;
    let mut w: Written = from_table(table, "")?;
    if w.name.trim().is_empty() {
        return wrong("name", "is empty; give the model a name");
    }
    let sha256 = unhex(&w.sha256)?;
    let found = |key: &str, name: &str| match files.asset(name) {
        Some(asset) => Ok(asset),
        None => wrong(key, format!("there is no file {name:?} beside the manifest")),
    };
    let weights = found("file", &w.file)?;
    let golden = w.golden.as_deref().map(|name| found("golden", name)).transpose()?;
    let mut task = task(&mut w)?;
    if let Some(streaming) = w.streaming {
        let Task::Lifter(lifter) = &mut task else {
            return wrong("streaming", "only lifters have it; remove the table");
        };
        if !(1..=65_536).contains(&streaming.slot) {
            return wrong("streaming.slot", format!("{} is outside 1..65536", streaming.slot));
        }
        let digest = |key: &str, text: &str| {
            unhex(text).map_err(|Problem(p)| Problem(p.replace("sha256", key)))
        };
        let frame_sha256 = digest("streaming.frame_sha256", &streaming.frame_sha256)?;
        let window_sha256 = digest("streaming.window_sha256", &streaming.window_sha256)?;
        // Not every binary holds them: the whole-window graph says it all.
        lifter.streaming = files.asset(&streaming.frame).zip(files.asset(&streaming.window)).map(
            |(frame, window)| StreamingSpec {
                frame: (frame, frame_sha256),
                window: (window, window_sha256),
                slot: streaming.slot,
            },
        );
    }
    let trained = match w.trained {
        Trained::Words(words) => words,
        Trained::How { date, command, weights: None } => format!("{date}: {command}"),
        Trained::How { date, command, weights: Some(state) } => {
            format!("{date}: {command} ({state})")
        }
    };
    let mut measured = w.error;
    measured.extend(w.cost);
    measured.extend(w.architecture);
    Ok(ModelSpec {
        name: w.name,
        manifest: file.to_owned(),
        weights,
        sha256,
        golden,
        licence: w.licence,
        commercial: w.commercial,
        training_data: w.training_data,
        trained,
        card: w.card,
        measured,
        source: w.source,
        task,
    })
}

/// Reads a table into `T`; errors name the key with `prefix` in front.
fn from_table<T: DeserializeOwned>(table: Table, prefix: &str) -> Checked<T> {
    serde_path_to_error::deserialize(Value::Table(table)).map_err(|e| {
        let path = e.path().to_string();
        let key = match (prefix, path.as_str()) {
            ("", ".") => String::new(),
            ("", path) => path.to_owned(),
            (prefix, ".") => prefix.to_owned(),
            (prefix, path) => format!("{prefix}.{path}"),
        };
        let why = e.inner().message().to_owned();
        Problem(if key.is_empty() { why } else { format!("key `{key}`: {why}") })
    })
}

fn task(w: &mut Written) -> Checked<Task> {
    let input = std::mem::take(&mut w.input);
    if w.kind != ModelKind::Keypoints {
        if w.skeleton.is_some() && w.kind == ModelKind::Finder {
            return wrong("skeleton", "a finder has none; remove the key");
        }
        if w.crop_scale.is_some() {
            return wrong("crop_scale", "only keypoint models have one; remove the key");
        }
    }
    if w.kind == ModelKind::Lifter {
        if w.decoder.is_some() {
            return wrong("decoder", "a lifter has none; remove the table");
        }
        let Some(output) = w.output.take() else {
            return wrong("output", "is missing: a lifter says its skeleton and units there");
        };
        return lifter(from_table(input, "input")?, from_table(output, "output")?)
            .map(Task::Lifter);
    }
    if w.output.is_some() {
        return wrong("output", "only lifters have it; remove the table");
    }
    let written: WrittenImage = from_table(input, "input")?;
    let letterbox = written.letterbox;
    let input = image(written)?;
    let Some(mut decoder) = w.decoder.take() else {
        return wrong("decoder", "is missing: say how the outputs are to be read");
    };
    let kind = match decoder.remove("type") {
        Some(Value::String(kind)) => kind,
        _ => return wrong("decoder.type", "is missing: say how the outputs are to be read"),
    };
    if w.kind == ModelKind::Finder {
        let Some(letterbox) = letterbox else {
            return wrong("input.letterbox", "is missing: write \"top-left\" or \"centre\"");
        };
        let decoder = match kind.as_str() {
            "boxes" => FinderDecoder::Boxes(boxes(from_table(decoder, "decoder")?)?),
            "anchor-free" => {
                FinderDecoder::AnchorFree(anchor_free(from_table(decoder, "decoder")?)?)
            }
            other => {
                let known = "a finder's is \"boxes\" or \"anchor-free\"";
                return wrong("decoder.type", format!("{other:?} is not known; {known}"));
            }
        };
        return Ok(Task::Finder(FinderSpec { input, letterbox, decoder }));
    }
    if letterbox.is_some() {
        return wrong("input.letterbox", "a crop is not letterboxed; remove the key");
    }
    let decoder = match kind.as_str() {
        "heatmap" => KeypointsDecoder::Heatmap(heatmap(from_table(decoder, "decoder")?, &input)?),
        "simcc" => KeypointsDecoder::SimCc(simcc(from_table(decoder, "decoder")?)?),
        other => {
            let known = "a keypoint model's is \"heatmap\" or \"simcc\"";
            return wrong("decoder.type", format!("{other:?} is not known; {known}"));
        }
    };
    let Some(skeleton) = w.skeleton else {
        return wrong("skeleton", "is missing: which keypoints, in which order (\"coco17\")");
    };
    let crop_scale = match w.crop_scale {
        None => return wrong("crop_scale", "is missing: how much larger than the box the crop is"),
        Some(s) if !(0.5..=4.0).contains(&s) => {
            return wrong("crop_scale", format!("{s} is outside 0.5..4"));
        }
        Some(s) => s,
    };
    Ok(Task::Keypoints(KeypointsSpec { input, skeleton, crop_scale, decoder }))
}

fn image(w: WrittenImage) -> Checked<ImageInput> {
    let Layout::Nchw = w.layout;
    for (key, n) in [("input.width", w.width), ("input.height", w.height)] {
        if !(16..=4096).contains(&n) {
            return wrong(key, format!("{n} is outside 16..4096 pixels"));
        }
    }
    let channels = w.channels.count();
    let three = |key: &str, values: &[f32]| match *values {
        _ if values.len() != channels => {
            wrong(key, format!("has {} values for {channels} channels", values.len()))
        }
        [a] => Ok([a, a, a]),
        [a, b, c] => Ok([a, b, c]),
        _ => wrong(key, "one value per channel is needed"),
    };
    let (mean, std) = (three("input.mean", &w.mean)?, three("input.std", &w.std)?);
    if !mean.iter().all(|v| v.is_finite()) {
        return wrong("input.mean", "must be finite");
    }
    if !std.iter().all(|v| v.is_finite() && *v > 0.0) {
        return wrong("input.std", "must be positive: values are divided by it");
    }
    if !(0.0..=255.0).contains(&w.pad) {
        return wrong("input.pad", format!("{} is outside 0..255", w.pad));
    }
    let WrittenImage { name, width, height, channels, pad, .. } = w;
    Ok(ImageInput { name, width, height, channels, mean, std, pad })
}

fn share(key: &str, value: f32) -> Checked<f32> {
    if (0.0..=1.0).contains(&value) {
        Ok(value)
    } else {
        wrong(key, format!("{value} is outside 0..1"))
    }
}

fn boxes(w: WrittenBoxes) -> Checked<BoxesDecoder> {
    if w.count == 0 {
        return wrong("decoder.count", "0 boxes is no finder");
    }
    Ok(BoxesDecoder {
        dets: w.dets,
        labels: w.labels,
        count: w.count,
        person: w.person,
        score_threshold: share("decoder.score_threshold", w.score_threshold)?,
    })
}

fn anchor_free(w: WrittenAnchorFree) -> Checked<AnchorFreeDecoder> {
    let (scores, boxes) = (w.scores.into_vec(), w.boxes.into_vec());
    for (key, n) in [("decoder.scores", scores.len()), ("decoder.boxes", boxes.len())] {
        if n != w.strides.len() || n == 0 {
            return wrong(key, format!("names {n} tensors for {} strides", w.strides.len()));
        }
    }
    if w.strides.contains(&0) {
        return wrong("decoder.strides", "a stride of 0 is no stride");
    }
    if w.person >= w.classes {
        return wrong("decoder.person", format!("{} of {} classes", w.person, w.classes));
    }
    let levels = w
        .strides
        .into_iter()
        .zip(scores.into_iter().zip(boxes))
        .map(|(stride, (scores, boxes))| AnchorFreeLevel { stride, scores, boxes })
        .collect();
    Ok(AnchorFreeDecoder {
        levels,
        distances: w.distances,
        activation: w.activation,
        classes: w.classes,
        person: w.person,
        cell_offset: share("decoder.cell_offset", w.cell_offset)?,
        score_threshold: share("decoder.score_threshold", w.score_threshold)?,
        nms_iou: share("decoder.nms_iou", w.nms_iou)?,
    })
}

fn heatmap(w: WrittenHeatmap, input: &ImageInput) -> Checked<HeatmapDecoder> {
    if w.stride == 0 || ![input.width, input.height].iter().all(|n| n.is_multiple_of(w.stride)) {
        let size = format!("{} x {}", input.width, input.height);
        return wrong("decoder.stride", format!("{} does not divide the input {size}", w.stride));
    }
    if w.blur > 31 || (w.blur > 0 && w.blur.is_multiple_of(2)) {
        return wrong("decoder.blur", format!("{} is not an odd size of at most 31", w.blur));
    }
    if w.blur > (input.width / w.stride).min(input.height / w.stride) {
        return wrong("decoder.blur", format!("{} is larger than the map", w.blur));
    }
    Ok(HeatmapDecoder {
        heatmaps: w.heatmaps,
        stride: w.stride,
        refine: w.refine,
        blur: w.blur,
        activation: w.activation,
        cell_offset: share("decoder.cell_offset", w.cell_offset)?,
        score_threshold: share("decoder.score_threshold", w.score_threshold)?,
    })
}

fn simcc(w: WrittenSimCc) -> Checked<SimCcDecoder> {
    if !(0.25..=16.0).contains(&w.split_ratio) {
        return wrong("decoder.split_ratio", format!("{} is outside 0.25..16", w.split_ratio));
    }
    Ok(SimCcDecoder {
        x: w.x,
        y: w.y,
        split_ratio: w.split_ratio,
        activation: w.activation,
        score_threshold: share("decoder.score_threshold", w.score_threshold)?,
    })
}

fn lifter(input: WrittenLifterInput, output: WrittenLifterOutput) -> Checked<LifterSpec> {
    let [frames, joints, features] = input.window;
    let (values, order) = match input.normalisation {
        Normalisation::Screen => (2, Order::OldestFirst),
        _ => (3, Order::NewestFirst),
    };
    if joints != JOINTS || features != values || !(1..=1024).contains(&frames) {
        let shape = format!("{:?}", input.window);
        return wrong(
            "input.window",
            format!("{shape} is not [frames, 17, {values}] with 1 to 1024 frames"),
        );
    }
    if input.order.is_some_and(|o| o != order) {
        return wrong("input.order", "contradicts input.normalisation: remove the key");
    }
    if values == 2 && input.context != 0 {
        return wrong("input.context", "is 0 with screen coordinates");
    }
    if !(1.0..=1000.0).contains(&input.rate_hz) {
        return wrong("input.rate_hz", format!("{} is outside 1..1000", input.rate_hz));
    }
    let lookaheads = input.lookaheads.unwrap_or_else(|| vec![input.lookahead]);
    for (key, k) in std::iter::once(("input.lookahead", &input.lookahead))
        .chain(lookaheads.iter().map(|k| ("input.lookaheads", k)))
    {
        if *k as usize >= frames {
            return wrong(key, format!("{k} slots of future do not fit a window of {frames}"));
        }
    }
    if !lookaheads.contains(&input.lookahead) {
        return wrong("input.lookaheads", format!("lacks the usual one, {}", input.lookahead));
    }
    let wanted = match input.normalisation {
        Normalisation::AnchoredVirtualCamera => 6,
        Normalisation::VirtualCamera => 5,
        Normalisation::Screen => 0,
    };
    if input.context != 0 && input.context != wanted {
        let c = input.context;
        return wrong("input.context", format!("{c} is neither 0 nor {wanted}"));
    }
    if !(0.3..=3.0).contains(&output.body_height_m) {
        let height = output.body_height_m;
        return wrong("output.body_height_m", format!("{height} m is outside 0.3..3"));
    }
    Ok(LifterSpec {
        frames,
        features,
        context: input.context,
        rate_hz: input.rate_hz,
        lookahead: input.lookahead,
        lookaheads,
        input_skeleton: input.skeleton,
        normalisation: input.normalisation,
        output_skeleton: output.skeleton,
        body_height_m: output.body_height_m,
        streaming: None,
    })
}

fn unhex(text: &str) -> Checked<[u8; 32]> {
    let mut bytes = [0; 32];
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return wrong("sha256", "is not 64 hexadecimal digits; `sha256sum FILE` prints them");
    }
    let nibble = |d: u8| (d as char).to_digit(16).unwrap_or(0) as u8;
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0]) << 4 | nibble(pair[1]);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
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
        let text = super::super::tiny::manifest("l", b"");
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
}
