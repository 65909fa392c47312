//! Whatever a source delivers, as pixels.

use super::{BayerDecoder, DecodeError, JpegDecoder};
use crate::frame::{ImageView, PixelFormat};

/// The decoders of all coded formats; each keeps its buffer.
#[derive(Default)]
pub struct FrameDecoder {
    jpeg: JpegDecoder,
    bayer: BayerDecoder,
}

impl FrameDecoder {
    /// Decoders with empty buffers.
    pub fn new() -> Self {
        Self::default()
    }

    /// The picture as pixels: JPEG and Bayer mosaics (which become half as large) decoded, all
    /// else as it is.
    ///
    /// # Errors
    /// As the format's decoder.
    pub fn decode<'a>(&'a mut self, image: ImageView<'a>) -> Result<ImageView<'a>, DecodeError> {
        match image.format {
            PixelFormat::Jpeg => self.jpeg.decode(&image),
            PixelFormat::Bayer { .. } => self.bayer.decode(&image),
            _ => Ok(image),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{BayerOrder, ColorSpace, ImageLayout};

    #[test]
    fn what_needs_no_decoding_is_passed_on_and_a_mosaic_is_not() {
        let color = ColorSpace { bt709: false, full_range: true };
        let mut decoder = FrameDecoder::new();
        let grey = ImageLayout::packed(4, 2, PixelFormat::Gray8, color);
        let bytes = [7; 8];
        let out = decoder.decode(grey.picture(&bytes).unwrap()).unwrap();
        assert!(std::ptr::eq(out.planes[0].data.as_ptr(), bytes.as_ptr()), "not copied");
        drop(out);
        let format = PixelFormat::Bayer { order: BayerOrder::Rggb, bits: 8 };
        let mosaic = ImageLayout::packed(4, 2, format, color);
        let out = decoder.decode(mosaic.picture(&bytes).unwrap()).unwrap();
        assert_eq!((out.format, out.width, out.height), (PixelFormat::Rgb8, 2, 1));
    }
}
