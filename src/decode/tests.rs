use super::*;

macro_rules! jpeg {
    ($name:literal) => {
        &include_bytes!(concat!("../../tests/data/jpeg/", $name, ".jpg"))[..]
    };
}

/// The colours of the four quarters of `tests/data/jpeg/make.py`.
const QUARTERS: [[u8; 3]; 4] = [[200, 40, 40], [40, 160, 60], [40, 60, 180], [128, 128, 128]];

fn view(data: &[u8]) -> ImageView<'_> {
    ImageView {
        width: 0,
        height: 0,
        format: PixelFormat::Jpeg,
        color: ColorSpace::default(),
        planes: ArrayVec::from_iter([Plane { data, stride: 0 }]),
    }
}

fn refused(data: &[u8]) -> DecodeError {
    JpegDecoder::new().decode(&view(data)).map(|_| ()).unwrap_err()
}

fn assert_quarters(image: &ImageView<'_>) {
    assert_eq!(image.format, PixelFormat::Rgb8);
    let plane = image.planes[0];
    for (i, want) in QUARTERS.iter().enumerate() {
        let x = image.width as usize * (1 + 2 * (i % 2)) / 4;
        let y = image.height as usize * (1 + 2 * (i / 2)) / 4;
        let got = &plane.data[y * plane.stride + 3 * x..][..3];
        for c in 0..3 {
            let off = got[c].abs_diff(want[c]);
            assert!(off <= 6, "quarter {i}: {got:?} for {want:?}");
        }
    }
}

#[test]
fn every_chroma_subsampling_and_odd_sizes_give_the_colours_that_went_in() {
    let mut decoder = JpegDecoder::new();
    for (data, size) in [
        (jpeg!("yuv444"), (64, 48)),
        (jpeg!("yuv422"), (64, 48)),
        (jpeg!("yuv420"), (64, 48)),
        (jpeg!("odd"), (37, 23)),
        (jpeg!("progressive"), (64, 48)),
    ] {
        let image = decoder.decode(&view(data)).unwrap();
        assert_eq!((image.width, image.height), size);
        assert_quarters(&image);
    }
}

#[test]
fn a_frame_without_huffman_tables_decodes_as_with_the_standard_ones() {
    let bare = jpeg!("no_huffman_tables");
    assert!(!JpegHeader::parse(bare).unwrap().has_huffman_tables);
    let mut one = JpegDecoder::new();
    let mut other = JpegDecoder::new();
    let image = one.decode(&view(bare)).unwrap();
    assert_quarters(&image);
    let whole = other.decode(&view(jpeg!("yuv422"))).unwrap();
    assert_eq!(image.planes[0].data, whole.planes[0].data);
}

#[test]
fn grey_stays_grey() {
    let mut decoder = JpegDecoder::new();
    let image = decoder.decode(&view(jpeg!("grey"))).unwrap();
    assert_eq!((image.format, image.width, image.height), (PixelFormat::Gray8, 64, 48));
    let plane = image.planes[0];
    assert_eq!(plane.data.len(), 64 * 48);
    assert!(plane.data[36 * plane.stride + 48].abs_diff(128) <= 3);
    assert!(plane.data[12 * plane.stride + 16].abs_diff(88) <= 3);
}

#[test]
fn cmyk_is_refused_by_name() {
    assert_eq!(refused(jpeg!("cmyk")), DecodeError::Components(4));
}

#[test]
fn a_frame_cut_anywhere_is_refused() {
    for data in [jpeg!("yuv420"), jpeg!("yuv422"), jpeg!("no_huffman_tables"), jpeg!("grey")] {
        for len in 0..data.len() {
            assert!(JpegDecoder::new().decode(&view(&data[..len])).is_err(), "{len} bytes");
        }
    }
}

#[test]
fn a_frame_whose_coded_bits_end_early_is_refused_although_it_has_its_end_marker() {
    for data in [jpeg!("yuv420"), jpeg!("yuv422"), jpeg!("yuv444"), jpeg!("grey"), jpeg!("odd")] {
        let scan = JpegHeader::parse(data).unwrap().scan + 14;
        // The last byte or two may be mere padding of the last code.
        for len in scan..data.len() - 5 {
            let mut cut = data[..len].to_vec();
            cut.extend_from_slice(&END);
            assert!(matches!(refused(&cut), DecodeError::Corrupt(_)), "{len} bytes");
        }
    }
}

#[test]
fn padding_after_the_end_marker_does_no_harm() {
    let mut data = jpeg!("yuv422").to_vec();
    data.resize(data.len() + 4000, 0);
    assert!(JpegDecoder::new().decode(&view(&data)).is_ok());
}

#[test]
fn a_header_that_asks_for_gigabytes_is_refused_before_memory_is_taken() {
    let mut data = jpeg!("yuv420").to_vec();
    let sof = data.windows(2).position(|m| m == [0xff, 0xc0]).unwrap();
    data[sof + 5..sof + 9].copy_from_slice(&[0xff, 0xff, 0xff, 0xff]);
    let mut decoder = JpegDecoder::new();
    let error = decoder.decode(&view(&data)).map(|_| ()).unwrap_err();
    assert_eq!(error, DecodeError::TooLarge { width: 65_535, height: 65_535 });
    assert_eq!(decoder.pixels.capacity(), 0);
}

#[test]
fn what_is_no_jpeg_is_refused() {
    assert!(matches!(refused(b""), DecodeError::Corrupt(_)));
    assert!(matches!(refused(b"\x89PNG\r\n\x1a\n rest"), DecodeError::Corrupt(_)));
    let mut raw = view(&[0; 12]);
    raw.format = PixelFormat::Rgb8;
    let error = JpegDecoder::new().decode(&raw).map(|_| ()).unwrap_err();
    assert_eq!(error, DecodeError::Format(PixelFormat::Rgb8));
}

#[test]
fn damaged_bytes_never_panic() {
    // A small generator of our own, so that a failure can be repeated.
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    let mut decoder = JpegDecoder::new();
    for data in [jpeg!("yuv420"), jpeg!("yuv444"), jpeg!("odd"), jpeg!("progressive")] {
        for _ in 0..2_000 {
            let mut bytes = data.to_vec();
            for _ in 0..1 + random() % 4 {
                let at = 2 + random() % (bytes.len() - 2);
                bytes[at] = random() as u8;
            }
            let _ = decoder.decode(&view(&bytes));
        }
    }
}
