//! Grey pictures of files, folders, clips and cameras.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::calibration::Grey;
use crate::capture::v4l2::controls::Controls;
use crate::capture::{self, FrameSource, Next, SourceOptions};
use crate::decode::FrameDecoder;
use crate::fault::{Fault, Severity};
use crate::frame::{Frame, ImageView, PixelFormat};

/// Options for looking at something as it is.
pub(super) const PLAIN: SourceOptions = SourceOptions {
    camera: 0,
    rate: None,
    realtime: false,
    repeat: false,
    controls: Controls::NONE,
};

/// How long a camera may give nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is to be looked at.
pub(super) enum Input {
    /// Single pictures, in order.
    Files(Vec<PathBuf>),
    /// A camera or a clip: whoever holds the board moves it.
    Moving(String),
}

impl Input {
    /// What `named` on the command line means.
    pub(super) fn of(named: &[String]) -> Result<Self, String> {
        if let [one] = named {
            let path = Path::new(one);
            if path.is_dir() {
                return folder(path).map(Self::Files);
            }
            if !is_picture(path) {
                return Ok(Self::Moving(one.clone()));
            }
        }
        Ok(Self::Files(named.iter().map(PathBuf::from).collect()))
    }
}

fn folder(path: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = std::fs::read_dir(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut paths: Vec<PathBuf> =
        entries.flatten().map(|e| e.path()).filter(|p| is_picture(p)).collect();
    paths.sort();
    if paths.is_empty() {
        return Err(format!("{}: no .jpg, .jpeg or .png file in it", path.display()));
    }
    Ok(paths)
}

fn is_picture(path: &Path) -> bool {
    path.extension()
        .and_then(|e| e.to_str())
        .is_some_and(|e| ["jpg", "jpeg", "png"].iter().any(|known| e.eq_ignore_ascii_case(known)))
}

/// The picture in a file.
pub(super) fn read(path: &Path) -> Result<Grey, String> {
    // `file://`, so that no name can be taken for a camera.
    let uri = format!("file://{}", path.display());
    let wrong = |e: capture::CaptureError| format!("{}: {}", path.display(), problem(e));
    let mut source = capture::open(&uri, &PLAIN).map_err(wrong)?;
    match next(source.as_mut()).map_err(wrong)? {
        Some(frame) => {
            grey(&frame, &mut FrameDecoder::new()).map_err(|e| format!("{}: {e}", path.display()))
        }
        None => Err(format!("{}: there is no picture in it", path.display())),
    }
}

/// Without the source's name, which the caller says.
fn problem(error: capture::CaptureError) -> String {
    use capture::CaptureError::{BadFrame, Gone, Unusable};
    match error {
        Unusable { problem, .. } | BadFrame { problem, .. } | Gone { problem, .. } => problem,
    }
}

/// The next whole frame; `None` at the end.
pub(super) fn next(source: &mut dyn FrameSource) -> Result<Option<Frame>, capture::CaptureError> {
    let begun = Instant::now();
    loop {
        match source.next(Duration::from_millis(200)) {
            Ok(Next::Frame(frame)) => return Ok(Some(frame)),
            Ok(Next::End) => return Ok(None),
            Ok(Next::Idle) if begun.elapsed() < PATIENCE => {}
            Ok(Next::Idle) => {
                let uri = source.describe().summary.clone();
                let problem = format!("no picture for {} s", PATIENCE.as_secs());
                return Err(capture::CaptureError::Gone { uri, problem });
            }
            // Of a single file nothing else would come.
            Err(e) if e.severity() == Severity::Skip && source.describe().live => {
                log::warn!("{e}");
            }
            Err(e) => return Err(e),
        }
    }
}

/// The luma of a frame.
pub(super) fn grey(frame: &Frame, decoder: &mut FrameDecoder) -> Result<Grey, String> {
    luma(&decoder.decode(frame.image()).map_err(|e| e.to_string())?)
}

fn luma(image: &ImageView<'_>) -> Result<Grey, String> {
    let (width, height) = (image.width as usize, image.height as usize);
    let Some(plane) = image.planes.first() else { return Err("no pixels".into()) };
    let mut pixels = Vec::with_capacity(width * height);
    let weighted = |r: u8, g: u8, b: u8| {
        ((77 * u32::from(r) + 150 * u32::from(g) + 29 * u32::from(b) + 128) >> 8) as u8
    };
    for row in plane.data.chunks(plane.stride.max(1)).take(height) {
        match image.format {
            PixelFormat::Gray8
            | PixelFormat::Nv12
            | PixelFormat::Nv21
            | PixelFormat::I420
            | PixelFormat::I422
            | PixelFormat::I444 => pixels.extend(row.iter().take(width)),
            PixelFormat::Yuyv => pixels.extend(row.iter().step_by(2).take(width)),
            PixelFormat::Uyvy => pixels.extend(row.iter().skip(1).step_by(2).take(width)),
            PixelFormat::Rgb8 => {
                pixels.extend(row.chunks_exact(3).take(width).map(|p| weighted(p[0], p[1], p[2])));
            }
            PixelFormat::Bgr8 => {
                pixels.extend(row.chunks_exact(3).take(width).map(|p| weighted(p[2], p[1], p[0])));
            }
            other => return Err(format!("pictures of {other:?} are not read here")),
        }
    }
    if pixels.len() != width * height {
        return Err("the picture is cut short".into());
    }
    Ok(Grey { width, height, pixels })
}
