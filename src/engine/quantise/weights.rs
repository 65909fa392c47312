//! Weights in 8 bits: one scale for each channel of the result, symmetric.

use half::f16;

use crate::engine::onnx::Constant;

/// The largest 8-bit value used; -128 is left out, so that negation is exact.
pub const LARGEST: f32 = 127.0;

/// A constant in 8 bits.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// The constant's sizes.
    pub dims: Vec<usize>,
    /// Row-major; a value is `scale * i8`.
    pub values: Vec<i8>,
    /// One for each channel; exact in `f16`.
    pub scales: Vec<f32>,
    /// Which of the sizes the channels are.
    pub axis: usize,
}

/// A scale that `f16` can hold, not less than `scale`, never zero. Files hold it in `f32`; the errors
/// that shipped tables state were measured with scales of this kind.
#[must_use]
pub fn representable(scale: f32) -> f32 {
    // Subnormal scales would lose their precision.
    let wanted = scale.clamp(f16::MIN_POSITIVE.to_f32(), f16::MAX.to_f32());
    let near = f16::from_f32(wanted);
    if near.to_f32() >= wanted { near } else { f16::from_bits(near.to_bits() + 1) }.to_f32()
}

/// The nearest of the 255 values; halves go to the even one, as ONNX says.
#[must_use]
pub fn round(value: f32, scale: f32) -> i8 {
    (value / scale).round_ties_even().clamp(-LARGEST, LARGEST) as i8
}

/// `constant` in 8 bits with a scale for each index of `axis`.
#[must_use]
pub fn quantise(constant: &Constant, axis: usize) -> Weights {
    let channels = constant.dims.get(axis).copied().unwrap_or(1);
    let behind: usize = constant.dims.iter().skip(axis + 1).product();
    let channel = |i: usize| i / behind.max(1) % channels.max(1);
    let mut largest = vec![0.0_f32; channels];
    for (i, v) in constant.values.iter().enumerate() {
        let most = &mut largest[channel(i)];
        *most = most.max(v.abs());
    }
    let scales: Vec<f32> = largest.iter().map(|m| representable(m / LARGEST)).collect();
    let values = constant.values.iter().enumerate();
    Weights {
        values: values.map(|(i, v)| round(*v, scales[channel(i)])).collect(),
        dims: constant.dims.clone(),
        scales,
        axis,
    }
}

impl Weights {
    /// What the 8 bits stand for.
    #[must_use]
    pub fn floats(&self) -> Constant {
        let behind: usize = self.dims.iter().skip(self.axis + 1).product();
        let scale = |i: usize| self.scales[i / behind.max(1) % self.scales.len()];
        let values = self.values.iter().enumerate().map(|(i, v)| f32::from(*v) * scale(i));
        Constant { dims: self.dims.clone(), values: values.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_channel_is_as_exact_as_its_own_largest_value_allows() {
        // Two columns a thousand times apart.
        let values = vec![1.0, 0.001, -0.5, 0.0007, 0.25, -0.0009];
        let constant = Constant { dims: vec![3, 2], values };
        let again = quantise(&constant, 1).floats();
        for (i, (a, b)) in constant.values.iter().zip(&again.values).enumerate() {
            let largest = if i % 2 == 0 { 1.0 } else { 0.001 };
            assert!((a - b).abs() <= 0.51 * largest / 127.0 + 4e-5, "{i}: {a} and {b}");
        }
        let rows = quantise(&constant, 0);
        assert_eq!(rows.scales.len(), 3);
        assert_eq!(rows.values[0], 127);
    }

    #[test]
    fn scales_are_numbers_that_f16_holds_and_never_clip() {
        for scale in [1e-9, 3.1e-5, 0.0123, 0.9999, 77.7, 1e9] {
            let r = representable(scale);
            assert_eq!(f16::from_f32(r).to_f32(), r);
            assert!(r >= scale.min(65504.0), "{scale} became {r}");
        }
        assert_eq!(round(0.5, 1.0), 0);
        assert_eq!(round(1.5, 1.0), 2);
        assert_eq!(round(-1e9, 1.0), -127);
    }

    #[test]
    fn a_channel_of_zeros_stays_zero() {
        let w = quantise(&Constant { dims: vec![2, 1], values: vec![0.0, 0.0] }, 1);
        assert_eq!(w.floats().values, [0.0, 0.0]);
    }
}
