//! Any bytes give a picture of the size that their header says, or an error; a decoder that has
//! seen anything decodes the next whole frame as a fresh one does.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use posewire_fuzz::decode::{JpegDecoder, JpegHeader};
use posewire_fuzz::frame::{ColorSpace, ImageView, PixelFormat, Plane};

/// A whole frame.
const WHOLE: &[u8] = include_bytes!("../../tests/data/jpeg/yuv422.jpg");

/// What it decodes to.
static PIXELS: OnceLock<Vec<u8>> = OnceLock::new();

/// Pictures above this take the time of thousands of small ones, and show nothing else.
const MAX_PIXELS: u64 = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let header = JpegHeader::parse(bytes);
    if let Ok(h) = &header
        && u64::from(h.width) * u64::from(h.height) > MAX_PIXELS
    {
        return;
    }
    let mut decoder = JpegDecoder::new();
    if let Ok(image) = decoder.decode(&view(bytes)) {
        let header = header.expect("what was decoded has a header");
        assert_eq!((image.width, image.height), (header.width, header.height));
        let channels = if image.format == PixelFormat::Gray8 { 1 } else { 3 };
        let plane = image.planes[0];
        assert_eq!(plane.stride, image.width as usize * channels);
        assert_eq!(plane.data.len(), plane.stride * image.height as usize);
    }
    let whole = decoder.decode(&view(WHOLE)).expect("a whole frame").planes[0].data;
    let wanted = PIXELS.get_or_init(|| whole.to_vec());
    // The decoder has seen something else before all but the first of these.
    assert_eq!(whole, &wanted[..]);
});

fn view(data: &[u8]) -> ImageView<'_> {
    ImageView {
        width: 0,
        height: 0,
        format: PixelFormat::Jpeg,
        color: ColorSpace::default(),
        planes: [Plane { data, stride: 0 }].into_iter().collect(),
    }
}
