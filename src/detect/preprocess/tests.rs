use super::*;
use crate::engine::spec::{Channels, Letterbox};
use crate::frame::{ColorSpace, ImageLayout};

/// A picture with padded rows and noisy content.
struct Picture {
    layout: ImageLayout,
    bytes: Vec<u8>,
}

impl Picture {
    fn noise(width: u32, height: u32, format: PixelFormat, color: ColorSpace) -> Self {
        let mut layout = ImageLayout::packed(width, height, format, color);
        let mut offset = 0;
        for p in &mut layout.planes {
            let rows = p.len / p.stride;
            p.stride += 13;
            p.offset = offset;
            p.len = p.stride * rows;
            offset += p.len;
        }
        let mut state = 0x2545_f491_u32;
        let bytes = (0..offset)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                (state >> 11) as u8
            })
            .collect();
        Self { layout, bytes }
    }

    fn view(&self) -> ImageView<'_> {
        self.layout.picture(&self.bytes).unwrap()
    }
}

fn input(width: usize, height: usize, channels: Channels) -> ImageInput {
    ImageInput {
        name: "x".into(),
        width,
        height,
        channels,
        mean: [118.0, 100.0, 90.0],
        std: [60.0, 50.0, 70.0],
        pad: 114.0,
    }
}

/// The value of one component at a picture pixel's plane coordinates, clamped at borders.
fn component(view: &ImageView<'_>, component: usize, x: i64, y: i64) -> f64 {
    use PixelFormat::*;
    let (w, h) = (i64::from(view.width), i64::from(view.height));
    let (cw, ch) = ((w + 1) / 2, (h + 1) / 2);
    // (plane, step, offset, plane width, plane height)
    let (p, step, offset, pw, ph) = match (view.format, component) {
        (Gray8, _) => (0, 1, 0, w, h),
        (Gray16, _) => (0, 2, 1, w, h),
        (Rgb8, c) => (0, 3, c, w, h),
        (Bgr8, c) => (0, 3, 2 - c, w, h),
        (Yuyv, 0) => (0, 2, 0, w, h),
        (Yuyv, c) => (0, 4, 2 * c - 1, cw, h),
        (Uyvy, 0) => (0, 2, 1, w, h),
        (Uyvy, c) => (0, 4, 2 * c - 2, cw, h),
        (_, 0) => (0, 1, 0, w, h),
        (Nv12, c) => (1, 2, c - 1, cw, ch),
        (Nv21, c) => (1, 2, 2 - c, cw, ch),
        (I420, c) => (c, 1, 0, cw, ch),
        (I422, c) => (c, 1, 0, cw, h),
        (I444, c) => (c, 1, 0, w, h),
        (Jpeg | Bayer { .. }, _) => unreachable!(),
    };
    let plane = &view.planes[p];
    let (x, y) = (x.clamp(0, pw - 1) as usize, y.clamp(0, ph - 1) as usize);
    f64::from(plane.data[y * plane.stride + x * step + offset])
}

/// (weight, index) of the pixels under `low..high`, pixel `j` spanning `j..j + 1`.
fn cover(low: f64, high: f64) -> Vec<(f64, i64)> {
    (low.floor() as i64..=high.floor() as i64)
        .map(|j| ((high.min(j as f64 + 1.0) - low.max(j as f64)) / (high - low), j))
        .filter(|(w, _)| *w > 0.0)
        .collect()
}

fn reference(view: &ImageView<'_>, crop: &Crop, input: &ImageInput) -> Vec<f32> {
    use PixelFormat::*;
    let sub = |c: usize| match view.format {
        Gray8 | Gray16 | Rgb8 | Bgr8 | I444 => (1.0, 1.0),
        _ if c == 0 => (1.0, 1.0),
        Yuyv | Uyvy | I422 => (2.0, 1.0),
        _ => (2.0, 2.0),
    };
    let along = |start: f32, scale: f32, i: usize, sub: f64| {
        let scale = f64::from(scale) / sub;
        let centre = (f64::from(start) + 0.5) / sub + (i as f64 + 0.5) * scale;
        let half = if scale > 2.0 { scale / 2.0 } else { 0.5 };
        cover(centre - half, centre + half)
    };
    let at = |c: usize, u: usize, v: usize| -> f64 {
        let (sx, sy) = sub(c);
        let xs = along(crop.left, crop.scale_x, u, sx);
        let ys = along(crop.top, crop.scale_y, v, sy);
        ys.iter()
            .map(|(wy, y)| {
                wy * xs.iter().map(|(wx, x)| wx * component(view, c, *x, *y)).sum::<f64>()
            })
            .sum()
    };
    let mut out = Vec::new();
    for c in 0..input.channels.count() {
        for v in 0..input.height {
            for u in 0..input.width {
                let x = f64::from(crop.left) + (u as f64 + 0.5) * f64::from(crop.scale_x);
                let y = f64::from(crop.top) + (v as f64 + 0.5) * f64::from(crop.scale_y);
                let on = |p: f64, n: u32| p >= -0.5 && p <= f64::from(n) - 0.5;
                let value = if !(on(x, view.width) && on(y, view.height)) {
                    f64::from(input.pad)
                } else {
                    let k = match (input.channels, view.format) {
                        (Channels::Bgr, _) => 2 - c,
                        _ => c,
                    };
                    let rgb = match view.format {
                        Gray8 | Gray16 => [at(0, u, v); 3],
                        Rgb8 | Bgr8 => [at(0, u, v), at(1, u, v), at(2, u, v)],
                        _ => {
                            let (y, cb, cr) =
                                (at(0, u, v), at(1, u, v) - 128.0, at(2, u, v) - 128.0);
                            let (y, cb, cr) = if view.color.full_range {
                                (y, cb, cr)
                            } else {
                                ((y - 16.0) / 219.0 * 255.0, cb / 224.0 * 255.0, cr / 224.0 * 255.0)
                            };
                            if input.channels == Channels::Gray {
                                [y; 3]
                            } else if view.color.bt709 {
                                [
                                    y + 1.5748 * cr,
                                    y - 0.187324 * cb - 0.468124 * cr,
                                    y + 1.8556 * cb,
                                ]
                            } else {
                                [y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb]
                            }
                        }
                    };
                    let packed = matches!(view.format, Rgb8 | Bgr8);
                    if input.channels == Channels::Gray && packed {
                        0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]
                    } else {
                        rgb[k].clamp(0.0, 255.0)
                    }
                };
                out.push(((value - f64::from(input.mean[c])) / f64::from(input.std[c])) as f32);
            }
        }
    }
    out
}

/// The largest difference in pixel levels (0..255).
fn difference(view: &ImageView<'_>, crop: &Crop, input: &ImageInput) -> f32 {
    let mut p = Preprocessor::new(input);
    let mut tensor = vec![f32::NAN; p.tensor_len()];
    p.sample(view, crop, &mut tensor).unwrap();
    let plane = input.width * input.height;
    let expected = reference(view, crop, input);
    tensor
        .iter()
        .zip(&expected)
        .enumerate()
        .map(|(i, (a, b))| {
            let d = (a - b).abs() * input.std[i / plane];
            assert!(!d.is_nan(), "{i}: {a} {b}");
            d
        })
        .fold(0.0, f32::max)
}

#[test]
fn every_format_and_colour_space_agrees_with_the_reference_within_one_level() {
    let crops = [
        // Enlarged, about the same size, shrunk by interpolation, shrunk by areas, all reaching
        // out of the picture on some side.
        Crop { left: 3.3, top: 2.1, scale_x: 0.37, scale_y: 0.41 },
        Crop { left: -4.2, top: 5.7, scale_x: 1.03, scale_y: 0.98 },
        Crop { left: 10.0, top: -9.4, scale_x: 1.9, scale_y: 1.7 },
        Crop { left: -7.3, top: -3.9, scale_x: 3.3, scale_y: 4.6 },
        Crop { left: -30.0, top: -12.0, scale_x: 9.1, scale_y: 6.4 },
    ];
    for format in FORMATS {
        for bits in 0..4 {
            let color = ColorSpace { bt709: bits & 1 == 1, full_range: bits & 2 == 2 };
            for (w, h) in [(64, 48), (61, 47)] {
                let picture = Picture::noise(w, h, format, color);
                for (n, crop) in crops.iter().enumerate() {
                    let channels = [Channels::Rgb, Channels::Bgr, Channels::Gray][(n + bits) % 3];
                    let d = difference(&picture.view(), crop, &input(24, 32, channels));
                    assert!(d < 1.0, "{format:?} {color:?} {w}x{h} {crop:?} {channels:?}: {d}");
                }
            }
        }
    }
}

#[test]
fn the_smallest_pictures_can_be_sampled() {
    for format in FORMATS {
        for (w, h) in [(1, 1), (2, 1), (1, 3), (3, 2)] {
            let picture = Picture::noise(w, h, format, ColorSpace::default());
            for scale in [0.05, 0.7, 2.5] {
                let crop = Crop { left: -0.6, top: -0.8, scale_x: scale, scale_y: scale };
                let d = difference(&picture.view(), &crop, &input(16, 16, Channels::Rgb));
                assert!(d < 1.0, "{format:?} {w}x{h} {scale}: {d}");
            }
        }
    }
}

#[test]
fn a_letterboxed_picture_is_padded_where_it_ends() {
    let picture = Picture::noise(160, 90, PixelFormat::Nv12, ColorSpace::default());
    let input = input(40, 40, Channels::Bgr);
    for place in [Letterbox::TopLeft, Letterbox::Centre] {
        let crop = Crop::letterbox(160, 90, &input, place);
        assert!(difference(&picture.view(), &crop, &input) < 1.0);
    }
}

#[test]
fn a_crop_beside_the_picture_is_all_padding() {
    let picture = Picture::noise(64, 48, PixelFormat::Yuyv, ColorSpace::default());
    let input = input(16, 16, Channels::Rgb);
    for (left, top) in [(-500.0, 0.0), (500.0, 0.0), (0.0, -500.0), (0.0, 500.0), (1e9, -1e9)] {
        let crop = Crop { left, top, scale_x: 1.0, scale_y: 1.0 };
        assert!(difference(&picture.view(), &crop, &input) < 1e-3);
    }
}

#[test]
fn what_cannot_be_sampled_is_an_error() {
    let picture = Picture::noise(64, 48, PixelFormat::Nv12, ColorSpace::default());
    let mut p = Preprocessor::new(&input(16, 16, Channels::Rgb));
    let mut tensor = vec![0.0; p.tensor_len()];
    let good = Crop { left: 0.0, top: 0.0, scale_x: 1.0, scale_y: 1.0 };

    let mut view = picture.view();
    view.planes[1].data = &view.planes[1].data[..100];
    let said = p.sample(&view, &good, &mut tensor).unwrap_err().to_string();
    assert!(said.contains("plane 1") && said.contains("100"), "{said}");

    let mut view = picture.view();
    view.format = PixelFormat::Jpeg;
    assert!(p.sample(&view, &good, &mut tensor).unwrap_err().to_string().contains("decoded"));

    let mut view = picture.view();
    view.height = 0;
    assert!(p.sample(&view, &good, &mut tensor).is_err());

    for (left, scale_x) in [(f32::NAN, 1.0), (0.0, 0.0), (0.0, -1.0), (0.0, f32::INFINITY)] {
        let bad = Crop { left, scale_x, ..good };
        assert!(p.sample(&picture.view(), &bad, &mut tensor).is_err());
    }
    let view = picture.view();
    assert!(p.sample(&view, &good, &mut tensor[1..]).is_err());
    assert!(p.sample(&view, &good, &mut tensor).is_ok());
}
