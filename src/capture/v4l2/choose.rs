//! Which of a camera's formats to take, and how its pixels then lie. No device needed.

use arrayvec::ArrayVec;

use super::sys::PixFormat;
use crate::frame::{ColorSpace, ImageLayout, PixelFormat, PlaneLayout};

/// What may be asked of a camera behind the `?` of its URI.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Wish {
    pub size: Option<(u32, u32)>,
    /// The kernel's four-letter code.
    pub format: Option<u32>,
}

impl Wish {
    /// Reads `size=1280x720&format=MJPG`.
    pub(super) fn parse(query: &str) -> Result<Self, String> {
        let mut wish = Self::default();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some(("size", value)) => {
                    let (w, h) = value.split_once('x').unwrap_or_default();
                    match (w.parse(), h.parse()) {
                        (Ok(w), Ok(h)) if w > 0 && h > 0 => wish.size = Some((w, h)),
                        _ => return Err(format!("size={value}: write it as size=1280x720")),
                    }
                }
                Some(("format", value)) => {
                    let code = value.as_bytes().try_into().map(u32::from_le_bytes);
                    wish.format = match code {
                        Ok(code) if pixel_format(code).is_some() => Some(code),
                        _ => {
                            let all: Vec<_> = KNOWN.iter().map(|&(c, _)| name(c)).collect();
                            return Err(format!(
                                "format={value} is not read; these are: {}",
                                all.join(", ")
                            ));
                        }
                    };
                }
                _ => return Err(format!("{part}: only size= and format= are known")),
            }
        }
        Ok(wish)
    }
}

/// The codes that are read, those first that are cheapest to sample.
const KNOWN: [(u32, PixelFormat); 9] = [
    (code(b"YUYV"), PixelFormat::Yuyv),
    (code(b"UYVY"), PixelFormat::Uyvy),
    (code(b"NV12"), PixelFormat::Nv12),
    (code(b"NV21"), PixelFormat::Nv21),
    (code(b"RGB3"), PixelFormat::Rgb8),
    (code(b"BGR3"), PixelFormat::Bgr8),
    (code(b"MJPG"), PixelFormat::Jpeg),
    (code(b"JPEG"), PixelFormat::Jpeg),
    (code(b"GREY"), PixelFormat::Gray8),
];

const fn code(letters: &[u8; 4]) -> u32 {
    u32::from_le_bytes(*letters)
}

/// A code in letters.
pub(super) fn name(code: u32) -> String {
    String::from_utf8_lossy(&code.to_le_bytes()).into_owned()
}

pub(super) fn pixel_format(code: u32) -> Option<PixelFormat> {
    KNOWN.iter().find(|&&(known, _)| known == code).map(|&(_, format)| format)
}

/// The best of `offered` at a picture of `size`: raw pixels up to 640x480, JPEG above, because
/// USB 2 carries larger raw pictures at a few frames per second only.
pub(super) fn choose(offered: &[u32], size: (u32, u32), wish: &Wish) -> Result<u32, String> {
    let list = || offered.iter().map(|&c| name(c)).collect::<Vec<_>>().join(", ");
    if let Some(wanted) = wish.format {
        return if offered.contains(&wanted) {
            Ok(wanted)
        } else {
            Err(format!("the camera has no {}; it has: {}", name(wanted), list()))
        };
    }
    let large = u64::from(size.0) * u64::from(size.1) > 640 * 480;
    let known = || KNOWN.iter().filter(|(code, _)| offered.contains(code));
    let jpeg = known().find(|(_, format)| large && format.is_compressed());
    jpeg.or_else(|| known().next())
        .map(|&(code, _)| code)
        .ok_or_else(|| format!("none of the camera's pixel formats is read: {}", list()))
}

/// How pixels lie in a driver's buffer of `bytes` used bytes.
///
/// # Errors
/// If the bytes are too few for the picture.
pub(super) fn layout(
    pix: &PixFormat,
    format: PixelFormat,
    bytes: usize,
) -> Result<ImageLayout, String> {
    let (width, height) = (pix.width, pix.height);
    if format.is_compressed() {
        return if bytes == 0 {
            Err("an empty buffer".into())
        } else {
            Ok(ImageLayout::compressed(width, height, format, bytes))
        };
    }
    let mut planes = ArrayVec::new();
    let mut offset = 0;
    for (row, rows) in format.packed_planes(width, height) {
        // The driver's row length; that of the interleaved chroma of NV12 is the same.
        let stride = (pix.bytesperline as usize).max(row);
        planes.push(PlaneLayout { memory: 0, offset, stride, len: stride * rows });
        offset += stride * rows;
    }
    if bytes < offset {
        return Err(format!("{bytes} bytes where {offset} were expected"));
    }
    Ok(ImageLayout { width, height, format, color: color(pix), planes })
}

/// The kernel's defaults: `V4L2_MAP_YCBCR_ENC_DEFAULT` and `V4L2_MAP_QUANTIZATION_DEFAULT`.
fn color(pix: &PixFormat) -> ColorSpace {
    const COLORSPACE_REC709: u32 = 3;
    const COLORSPACE_JPEG: u32 = 7;
    let bt709 = match pix.ycbcr_enc {
        0 => pix.colorspace == COLORSPACE_REC709,
        encoding => matches!(encoding, 2 | 4),
    };
    let full_range = match pix.quantization {
        0 => pix.colorspace == COLORSPACE_JPEG,
        quantization => quantization == 1,
    };
    ColorSpace { bt709, full_range }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YUYV: u32 = code(b"YUYV");
    const MJPG: u32 = code(b"MJPG");
    const NV12: u32 = code(b"NV12");

    #[test]
    fn small_pictures_are_taken_raw_and_large_ones_as_jpeg() {
        let offered = [code(b"H264"), MJPG, YUYV];
        let any = Wish::default();
        assert_eq!(choose(&offered, (640, 480), &any), Ok(YUYV));
        assert_eq!(choose(&offered, (1280, 720), &any), Ok(MJPG));
        assert_eq!(choose(&[NV12], (1280, 720), &any), Ok(NV12));
        let wish = Wish { format: Some(YUYV), ..any };
        assert_eq!(choose(&offered, (1280, 720), &wish), Ok(YUYV));
        assert!(choose(&[NV12], (1280, 720), &wish).unwrap_err().contains("it has: NV12"));
        assert!(choose(&[code(b"H264")], (640, 480), &any).unwrap_err().contains("H264"));
    }

    #[test]
    fn wishes_are_read_and_wrong_ones_named() {
        let wish = Wish::parse("size=1280x720&format=MJPG").unwrap();
        assert_eq!(wish, Wish { size: Some((1280, 720)), format: Some(MJPG) });
        assert_eq!(Wish::parse("").unwrap(), Wish::default());
        for (query, says) in [
            ("size=1280", "size=1280x720"),
            ("size=0x5", "size=1280x720"),
            ("format=H264", "YUYV"),
            ("format=toolong", "YUYV"),
            ("fps=5", "only size="),
        ] {
            let error = Wish::parse(query).unwrap_err();
            assert!(error.contains(says), "{query}: {error}");
        }
    }

    #[test]
    fn the_drivers_row_length_is_kept_and_short_buffers_are_refused() {
        let pix = PixFormat { width: 6, height: 4, bytesperline: 64, ..PixFormat::default() };
        let nv12 = layout(&pix, PixelFormat::Nv12, 64 * 6).unwrap();
        let planes: Vec<_> = nv12.planes.iter().map(|p| (p.offset, p.stride, p.len)).collect();
        assert_eq!(planes, [(0, 64, 256), (256, 64, 128)]);
        assert!(layout(&pix, PixelFormat::Nv12, 64 * 6 - 1).is_err());
        // Drivers that leave it at 0 mean tightly packed.
        let packed = PixFormat { bytesperline: 0, ..pix };
        assert_eq!(layout(&packed, PixelFormat::Yuyv, 48).unwrap().planes[0].stride, 12);
    }

    #[test]
    fn colours_follow_the_kernels_defaults() {
        let of = |colorspace, ycbcr_enc, quantization| {
            let c = color(&PixFormat { colorspace, ycbcr_enc, quantization, ..Default::default() });
            (c.bt709, c.full_range)
        };
        assert_eq!(of(8, 0, 0), (false, false)); // sRGB, what webcams say
        assert_eq!(of(3, 0, 0), (true, false));
        assert_eq!(of(7, 0, 0), (false, true));
        assert_eq!(of(8, 2, 1), (true, true));
    }
}
