//! SmoothQuant (Xiao et al., arXiv 2211.10438) where it is exact: a LayerNormalization's scale and
//! bias are divided by a factor for each channel, and the rows of the product behind it multiplied
//! by the same. Factors are powers of two, so not even rounding changes.

use super::sites::Site;
use super::table::Table;
use crate::engine::onnx::Constants;

/// Exponents beyond these would bring `f16` to its ends.
const MOST: f32 = 6.0;

/// The exponents that even out channels of the given `largest` magnitudes against the rows of a
/// constant (`[channels, N]`): half of the spread goes to each of both.
#[must_use]
pub fn exponents(largest: &[f32], rows: &[f32]) -> Vec<i8> {
    let width = rows.len() / largest.len().max(1);
    let log2 = |v: f32| v.max(1e-6).log2();
    let wanted: Vec<f32> = largest
        .iter()
        .zip(rows.chunks_exact(width.max(1)))
        .map(|(x, row)| {
            let w = row.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
            (log2(*x) - log2(w)) / 2.0
        })
        .collect();
    // Around their middle: a common factor changes nothing.
    let mut sorted = wanted.clone();
    sorted.sort_by(f32::total_cmp);
    let middle = sorted.get(sorted.len() / 2).copied().unwrap_or(0.0);
    wanted.iter().map(|e| (e - middle).round().clamp(-MOST, MOST) as i8).collect()
}

/// Scales what `table` says in `constants`.
///
/// # Errors
/// If the table is of a network of other sizes.
pub fn apply(sites: &[Site], constants: &mut Constants, table: &Table) -> Result<(), String> {
    for site in sites {
        let Some(range) = table.of(&site.weight, &site.activation) else { continue };
        let smooth = &range.smooth;
        if smooth.is_empty() {
            continue;
        }
        let Some((scale, bias)) = &site.norm else {
            return Err(format!(
                "{}: no LayerNormalization is before it; calibrate again",
                site.key
            ));
        };
        let factor = |e: i8| f32::from(e).exp2();
        for name in [scale, bias] {
            let Some(c) = constants.get_mut(name).filter(|c| c.values.len() == smooth.len()) else {
                return Err(format!("{}: of another width; calibrate again", site.key));
            };
            c.values.iter_mut().zip(smooth).for_each(|(v, e)| *v /= factor(*e));
        }
        let Some(w) = constants.get_mut(&site.weight).filter(|c| c.dims[0] == smooth.len()) else {
            return Err(format!("{}: of another width; calibrate again", site.key));
        };
        let width = w.values.len() / smooth.len();
        for (row, e) in w.values.chunks_exact_mut(width).zip(smooth) {
            row.iter_mut().for_each(|v| *v *= factor(*e));
        }
    }
    Ok(())
}
