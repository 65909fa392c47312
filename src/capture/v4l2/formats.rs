//! The pixel formats that are read, and how their pixels lie in a driver's buffers.

use arrayvec::ArrayVec;

use super::abi::{PLANES, PixFormat};
use crate::frame::{BayerOrder, ColorSpace, ImageLayout, PixelFormat, PlaneLayout};

/// A format of the kernel's that is read.
pub(super) struct Known {
    /// The kernel's four-letter code.
    pub code: u32,
    pub format: PixelFormat,
    /// What is made of it is basic: taken only where there is nothing else.
    pub basic: bool,
}

const fn known(letters: &[u8; 4], format: PixelFormat) -> Known {
    Known { code: u32::from_le_bytes(*letters), format, basic: false }
}

const fn bayer(letters: &[u8; 4], order: BayerOrder, bits: u8) -> Known {
    let format = PixelFormat::Bayer { order, bits };
    Known { code: u32::from_le_bytes(*letters), format, basic: true }
}

/// The codes that are read, those first that are cheapest to sample. Those with an M keep each
/// plane in memory of its own. Colour goes before grey.
pub(super) const KNOWN: [Known; 31] = [
    known(b"YUYV", PixelFormat::Yuyv),
    known(b"UYVY", PixelFormat::Uyvy),
    known(b"NV12", PixelFormat::Nv12),
    known(b"NM12", PixelFormat::Nv12),
    known(b"NV21", PixelFormat::Nv21),
    known(b"NM21", PixelFormat::Nv21),
    known(b"YU12", PixelFormat::I420),
    known(b"YM12", PixelFormat::I420),
    known(b"422P", PixelFormat::I422),
    known(b"RGB3", PixelFormat::Rgb8),
    known(b"BGR3", PixelFormat::Bgr8),
    known(b"MJPG", PixelFormat::Jpeg),
    known(b"JPEG", PixelFormat::Jpeg),
    known(b"GREY", PixelFormat::Gray8),
    known(b"Y16 ", PixelFormat::Gray16),
    bayer(b"RGGB", BayerOrder::Rggb, 8),
    bayer(b"GRBG", BayerOrder::Grbg, 8),
    bayer(b"GBRG", BayerOrder::Gbrg, 8),
    bayer(b"BA81", BayerOrder::Bggr, 8),
    bayer(b"RG10", BayerOrder::Rggb, 10),
    bayer(b"BA10", BayerOrder::Grbg, 10),
    bayer(b"GB10", BayerOrder::Gbrg, 10),
    bayer(b"BG10", BayerOrder::Bggr, 10),
    bayer(b"RG12", BayerOrder::Rggb, 12),
    bayer(b"BA12", BayerOrder::Grbg, 12),
    bayer(b"GB12", BayerOrder::Gbrg, 12),
    bayer(b"BG12", BayerOrder::Bggr, 12),
    bayer(b"RG16", BayerOrder::Rggb, 16),
    bayer(b"GR16", BayerOrder::Grbg, 16),
    bayer(b"GB16", BayerOrder::Gbrg, 16),
    bayer(b"BYR2", BayerOrder::Bggr, 16),
];

/// A code in letters.
pub(super) fn name(code: u32) -> String {
    String::from_utf8_lossy(&code.to_le_bytes()).trim_end().to_owned()
}

pub(super) fn pixel_format(code: u32) -> Option<PixelFormat> {
    KNOWN.iter().find(|known| known.code == code).map(|known| known.format)
}

/// How pixels lie in a driver's buffer. `used` says of each memory where its data begins and ends.
///
/// # Errors
/// If the bytes are too few for the picture.
pub(super) fn layout(
    pix: &PixFormat,
    format: PixelFormat,
    used: &[(usize, usize)],
) -> Result<ImageLayout, String> {
    let (width, height) = (pix.width, pix.height);
    if format.is_compressed() {
        let &(begin, end) = used.first().ok_or("a buffer without memory")?;
        if begin >= end {
            return Err("an empty buffer".into());
        }
        let mut layout = ImageLayout::compressed(width, height, format, end - begin);
        layout.planes[0].offset = begin;
        return Ok(layout);
    }
    let packed = format.packed_planes(width, height);
    let apart = pix.planes.len() > 1;
    if apart && pix.planes.len() != packed.len() {
        return Err(format!("{} planes where {} were expected", pix.planes.len(), packed.len()));
    }
    let mut planes: ArrayVec<PlaneLayout, PLANES> = ArrayVec::new();
    // In one memory, planes follow each other, and the driver tells the first one's row length.
    let (mut offset, mut first) = (used.first().map_or(0, |u| u.0), 0);
    for (n, &(row, rows)) in packed.iter().enumerate() {
        let memory = if apart { n } else { 0 };
        let told = pix.planes.get(memory).map_or(0, |&(stride, _)| stride as usize);
        let stride = match n {
            0 => told,
            _ if apart => told,
            // Of interleaved chroma as of luma; of planes of chroma half of it.
            _ if row < packed[0].0 => first / 2,
            _ => first,
        };
        let stride = stride.max(row);
        if n == 0 {
            first = stride;
        } else if apart {
            offset = used.get(n).map_or(0, |u| u.0);
        }
        let len = stride * rows;
        let end = used.get(memory).map_or(0, |u| u.1);
        // The last row of a picture may lack its padding.
        let needed = offset + len - (stride - row);
        if end < needed {
            return Err(format!("{end} bytes where {needed} were expected"));
        }
        planes.push(PlaneLayout {
            memory: memory as u8,
            offset,
            stride,
            len: len.min(end - offset),
        });
        offset += len;
    }
    // Nothing narrows a sensor's sixteen bits.
    let full = ColorSpace { bt709: false, full_range: true };
    let color = if format == PixelFormat::Gray16 { full } else { color(pix) };
    Ok(ImageLayout { width, height, format, color, planes })
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

    fn pix(width: u32, height: u32, planes: &[(u32, u32)]) -> PixFormat {
        let planes = planes.iter().copied().collect();
        PixFormat { width, height, planes, ..PixFormat::default() }
    }

    fn of(pix: &PixFormat, format: PixelFormat, used: &[(usize, usize)]) -> Vec<[usize; 4]> {
        let layout = layout(pix, format, used).unwrap();
        layout.planes.iter().map(|p| [p.memory.into(), p.offset, p.stride, p.len]).collect()
    }

    #[test]
    fn the_drivers_row_length_is_kept_and_short_buffers_are_refused() {
        let one = pix(6, 4, &[(64, 0)]);
        let nv12 = of(&one, PixelFormat::Nv12, &[(0, 64 * 6)]);
        assert_eq!(nv12, [[0, 0, 64, 256], [0, 256, 64, 128]]);
        // Of the last row only what is in it.
        assert!(layout(&one, PixelFormat::Nv12, &[(0, 64 * 5 + 6)]).is_ok());
        assert!(layout(&one, PixelFormat::Nv12, &[(0, 64 * 5 + 5)]).is_err());
        let i420 = of(&one, PixelFormat::I420, &[(0, 64 * 6)]);
        assert_eq!(i420, [[0, 0, 64, 256], [0, 256, 32, 64], [0, 320, 32, 64]]);
        // Drivers that leave it at 0 mean tightly packed.
        assert_eq!(of(&pix(6, 4, &[(0, 0)]), PixelFormat::Yuyv, &[(0, 48)]), [[0, 0, 12, 48]]);
    }

    #[test]
    fn planes_with_memory_of_their_own_are_found_where_their_data_begins() {
        let two = pix(6, 4, &[(64, 256), (96, 192)]);
        let nv12 = of(&two, PixelFormat::Nv12, &[(128, 384), (0, 192)]);
        assert_eq!(nv12, [[0, 128, 64, 256], [1, 0, 96, 192]]);
        assert!(layout(&two, PixelFormat::Nv12, &[(128, 384), (0, 96)]).is_err());
        assert!(layout(&two, PixelFormat::I420, &[(0, 384), (0, 192)]).is_err());
        let jpeg = layout(&two, PixelFormat::Jpeg, &[(10, 110)]).unwrap();
        assert_eq!((jpeg.planes[0].offset, jpeg.planes[0].len), (10, 100));
        assert!(layout(&two, PixelFormat::Jpeg, &[(0, 0)]).is_err());
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

    #[test]
    fn no_code_is_twice_in_the_list() {
        let mut codes: Vec<_> = KNOWN.iter().map(|known| known.code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), KNOWN.len());
        assert_eq!(name(u32::from_le_bytes(*b"Y16 ")), "Y16");
    }
}
