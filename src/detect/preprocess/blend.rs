//! Weighted sums in fixed point: over rows, then over columns.

use std::ops::Range;

use super::axis::Axis;

/// A byte as 8.8 fixed point, times a weight in 1/65536.
#[inline(always)]
fn part(byte: u8, weight: u16) -> u16 {
    // In two halves, so that everything stays within 16 bits: eight pixels per instruction on
    // SSE2 and NEON. The one-step form, through 32 bits, is half as fast.
    let byte = u16::from(byte);
    byte * (weight >> 8) + ((byte * (weight & 255)) >> 8)
}

/// `blended[span]` = the weighted sum of the rows, byte by byte.
pub(super) fn blend_rows(
    rows: &[u8],
    stride: usize,
    weights: &[u16],
    span: Range<usize>,
    blended: &mut [u16],
) {
    let row = |t: usize| &rows[t * stride..][span.clone()];
    let out = &mut blended[span.clone()];
    let mut done = 0;
    while done < weights.len() {
        let w = &weights[done..];
        match *w {
            // Two rows are the common case (no shrinking), four the next common.
            [a, b, c, d, ..] if done == 0 => {
                let four = row(0).iter().zip(row(1)).zip(row(2).iter().zip(row(3)));
                for (o, ((p, q), (r, s))) in out.iter_mut().zip(four) {
                    *o = part(*p, a) + part(*q, b) + part(*r, c) + part(*s, d);
                }
                done = 4;
            }
            [a, b, ..] if done == 0 => {
                for (o, (p, q)) in out.iter_mut().zip(row(0).iter().zip(row(1))) {
                    *o = part(*p, a) + part(*q, b);
                }
                done = 2;
            }
            [a, b, ..] => {
                let two = row(done).iter().zip(row(done + 1));
                for (o, (p, q)) in out.iter_mut().zip(two) {
                    *o += part(*p, a) + part(*q, b);
                }
                done += 2;
            }
            [a, ..] if done == 0 => {
                for (o, p) in out.iter_mut().zip(row(0)) {
                    *o = part(*p, a);
                }
                done = 1;
            }
            [a, ..] => {
                // The last tap of an area is often empty.
                if a != 0 {
                    for (o, p) in out.iter_mut().zip(row(done)) {
                        *o += part(*p, a);
                    }
                }
                done += 1;
            }
            [] => break,
        }
    }
}

/// Weighted sums of neighbouring pixels of a blended row, for `N` components at their byte
/// offsets.
pub(super) fn blend_columns<const N: usize>(
    blended: &[u16],
    columns: &Axis,
    step: usize,
    targets: [(&mut [u16], usize); N],
) {
    match step {
        1 => with_step::<N, 1>(blended, columns, targets),
        2 => with_step::<N, 2>(blended, columns, targets),
        3 => with_step::<N, 3>(blended, columns, targets),
        _ => with_step::<N, 4>(blended, columns, targets),
    }
}

fn with_step<const N: usize, const STEP: usize>(
    blended: &[u16],
    columns: &Axis,
    targets: [(&mut [u16], usize); N],
) {
    match columns.taps {
        1 => with_taps::<N, STEP, 1>(blended, columns, targets),
        2 => with_taps::<N, STEP, 2>(blended, columns, targets),
        3 => with_taps::<N, STEP, 3>(blended, columns, targets),
        4 => with_taps::<N, STEP, 4>(blended, columns, targets),
        5 => with_taps::<N, STEP, 5>(blended, columns, targets),
        6 => with_taps::<N, STEP, 6>(blended, columns, targets),
        _ => with_any_taps::<N, STEP>(blended, columns, targets),
    }
}

/// With everything but the data known when compiling: no bounds are checked within the loop over
/// taps, and it is unrolled.
fn with_taps<const N: usize, const STEP: usize, const TAPS: usize>(
    blended: &[u16],
    columns: &Axis,
    mut targets: [(&mut [u16], usize); N],
) {
    let (weights, _) = columns.weights.as_chunks::<TAPS>();
    for (i, (first, weights)) in columns.first.iter().zip(weights).enumerate() {
        let pixels = &blended[*first as usize * STEP..][..TAPS * STEP];
        for (target, offset) in &mut targets {
            let offset = (*offset).min(STEP - 1);
            let mut sum = 0;
            for t in 0..TAPS {
                sum += u32::from(pixels[t * STEP + offset]) * u32::from(weights[t]);
            }
            target[i] = (sum >> 16) as u16;
        }
    }
}

fn with_any_taps<const N: usize, const STEP: usize>(
    blended: &[u16],
    columns: &Axis,
    mut targets: [(&mut [u16], usize); N],
) {
    let all = columns.first.iter().zip(columns.weights.chunks_exact(columns.taps));
    for (i, (first, weights)) in all.enumerate() {
        let pixels = &blended[*first as usize * STEP..][..columns.taps * STEP];
        let mut sums = [0u32; N];
        for (w, pixel) in weights.iter().zip(pixels.chunks_exact(STEP)) {
            for (sum, (_, offset)) in sums.iter_mut().zip(&targets) {
                *sum += u32::from(pixel[(*offset).min(STEP - 1)]) * u32::from(*w);
            }
        }
        for (sum, (target, _)) in sums.iter().zip(&mut targets) {
            target[i] = (sum >> 16) as u16;
        }
    }
}
