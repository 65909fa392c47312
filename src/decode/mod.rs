//! Compressed frames to pixels.
//!
//! Sources hand compressed frames on as they are, because a frame that is displaced before
//! anybody looks at it need not be decoded. The pipeline decodes the ones it looks at with a
//! [`FrameDecoder`]; sources read sizes with [`JpegHeader`].

mod bayer;
mod frame_decoder;
mod header;
mod huffman;

pub use bayer::BayerDecoder;
pub use frame_decoder::FrameDecoder;
pub use header::JpegHeader;

use arrayvec::ArrayVec;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace as ZuneColor;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::fault::{Fault, Severity};
use crate::frame::{ColorSpace, ImageView, PixelFormat, Plane};

/// The longest side that is decoded: a damaged header must not cost gigabytes of memory.
pub const MAX_SIDE: u32 = 8192;

/// The end-of-image marker.
const END: [u8; 2] = [0xff, 0xd9];

/// 96 coded one-bits: more than the bits of a value and the longest code together.
const ONES: [u8; 24] = [
    255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0,
];

/// Why a compressed frame gave no picture. All cost one frame only.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The frame is not compressed, or in a way that has no decoder here.
    #[error("{0:?} is no format that can be decoded")]
    Format(PixelFormat),
    /// The data ends before the picture does.
    #[error("JPEG is cut short")]
    Truncated,
    /// The header asks for too many pixels.
    #[error("JPEG of {width}x{height} is larger than {MAX_SIDE}x{MAX_SIDE}")]
    TooLarge {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// A valid kind of JPEG that is not supported.
    #[error("JPEG with {0} colour components: only grey and YCbCr are decoded")]
    Components(u8),
    /// The data is damaged.
    #[error("JPEG is damaged: {0}")]
    Corrupt(String),
}

impl Fault for DecodeError {
    fn severity(&self) -> Severity {
        Severity::Skip
    }
}

/// Decodes JPEG and Motion-JPEG frames into a buffer that it keeps.
///
/// Colour pictures become [`PixelFormat::Rgb8`], grey ones [`PixelFormat::Gray8`]. RGB and not
/// the picture's own YCbCr because it saves the crop sampler a conversion per sample and costs
/// nothing: zune-jpeg 0.5.15 writes RGB with SIMD code and YCbCr without (a 1280x720 4:2:2 picture
/// of 150 kB, best of 60, x86-64, 2026-11-23: 4.3 ms as RGB, 8.4 ms as YCbCr, 3.0 ms luma only).
///
/// The decoder proper (zune-jpeg) allocates its working rows for every picture; the output
/// buffer is reused.
#[derive(Default)]
pub struct JpegDecoder {
    /// The picture; grows to the largest seen.
    pixels: Vec<u8>,
    /// The frame as it is given to the decoder proper, with what it may lack.
    completed: Vec<u8>,
}

impl JpegDecoder {
    /// A decoder with empty buffers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes `image`, whose first plane is a JPEG. The view borrows from the decoder.
    ///
    /// # Errors
    /// If the data is cut short or damaged (a frame of which any part is missing is refused, so
    /// that nobody looks for a person in half a picture), or of a kind that is not decoded.
    pub fn decode<'a>(&'a mut self, image: &ImageView<'_>) -> Result<ImageView<'a>, DecodeError> {
        if image.format != PixelFormat::Jpeg {
            return Err(DecodeError::Format(image.format));
        }
        let data = image.planes.first().map_or(&[][..], |plane| plane.data);
        let header = JpegHeader::parse(data)?;
        let (format, color, channels) = match header.components {
            1 => (PixelFormat::Gray8, ZuneColor::Luma, 1),
            3 => (PixelFormat::Rgb8, ZuneColor::RGB, 3),
            n => return Err(DecodeError::Components(n)),
        };
        // Coded bits never contain the end marker: a picture without one lost its end. What
        // follows it is a camera's padding.
        let coded = &data[header.scan..];
        let end = coded.windows(2).rposition(|pair| pair == END).ok_or(DecodeError::Truncated)?;
        self.completed.clear();
        self.completed.extend_from_slice(&data[..header.scan]);
        if !header.has_huffman_tables {
            self.completed.extend_from_slice(&huffman::STANDARD_DHT);
        }
        self.completed.extend_from_slice(&coded[..end]);
        // The decoder proper feeds itself zeros where the coded bits end early and makes a
        // picture of them. Ones instead: a code of ones only is never assigned (T.81, C.2), so
        // that a picture whose middle is missing is an error.
        self.completed.extend_from_slice(&ONES);
        self.completed.extend_from_slice(&END);

        let options = DecoderOptions::default()
            .set_strict_mode(true)
            .set_max_width(MAX_SIDE as usize)
            .set_max_height(MAX_SIDE as usize)
            .jpeg_set_out_colorspace(color);
        let stride = header.width as usize * channels;
        let len = stride * header.height as usize;
        if self.pixels.len() < len {
            self.pixels.resize(len, 0);
        }
        let pixels = &mut self.pixels[..len];
        zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(&self.completed), options)
            .decode_into(pixels)
            .map_err(|e| DecodeError::Corrupt(e.to_string()))?;

        Ok(ImageView {
            width: header.width,
            height: header.height,
            format,
            color: ColorSpace { bt709: false, full_range: true },
            planes: ArrayVec::from_iter([Plane { data: pixels, stride }]),
        })
    }
}

#[cfg(test)]
mod tests;
