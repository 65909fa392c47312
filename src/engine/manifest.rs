//! Manifests as written (TOML) and their way to a checked [`ModelSpec`].
//!
//! Two steps: serde reads what is written and refuses unknown keys; `check` turns it into types
//! that cannot hold nonsense. Each error names the file, the key and the remedy.

mod lifter;
mod onestage;
mod picture;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::EngineError;
use super::spec::*;
use crate::skeleton::Skeleton;
use lifter::lifter;

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
    if w.skeleton.is_some() && w.kind == ModelKind::Finder {
        return wrong("skeleton", "a finder has none; remove the key");
    }
    if w.crop_scale.is_some() && w.kind != ModelKind::Keypoints {
        return wrong("crop_scale", "only keypoint models have one; remove the key");
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
    let Some(decoder) = w.decoder.take() else {
        return wrong("decoder", "is missing: say how the outputs are to be read");
    };
    picture::task(w, input, decoder)
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
mod tests;
