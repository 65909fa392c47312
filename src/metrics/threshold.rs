//! Shares of joints that are near enough (Mehta et al., "Monocular 3D human pose estimation in
//! the wild using improved CNN supervision", 3DV 2017, and the MPI-INF-3DHP evaluation scripts).

/// The share of `errors` below `threshold`, 0..1. `None` if there are none.
pub fn pck(errors: &[f64], threshold: f64) -> Option<f64> {
    let near = errors.iter().filter(|e| **e < threshold).count();
    (!errors.is_empty()).then(|| near as f64 / errors.len() as f64)
}

/// The mean of [`pck`] over the thresholds 0, `step`, 2 `step`, ... up to and with `limit`: the
/// area under its curve, 0..1. `None` if there are no errors, or the steps lead nowhere.
pub fn auc(errors: &[f64], limit: f64, step: f64) -> Option<f64> {
    let steps = (limit / step + 1e-9).floor();
    if errors.is_empty() || !(0.0..1e6).contains(&steps) {
        return None;
    }
    let steps = steps as usize;
    // Of an error e, the thresholds above e count: one pass instead of one per threshold.
    let above = |e: f64| (0..=steps).filter(|k| e < *k as f64 * step).count();
    let sum: f64 = errors.iter().map(|e| above(*e) as f64).sum();
    Some(sum / ((steps + 1) * errors.len()) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_at_the_threshold_is_not_near_enough() {
        assert_eq!(pck(&[0.0, 149.9, 150.0, 151.0], 150.0), Some(0.5));
        assert_eq!(pck(&[], 150.0), None);
        assert_eq!(pck(&[f64::NAN, 1.0], 150.0), Some(0.5), "what is no number is not near");
    }

    #[test]
    fn the_area_under_the_curve_is_the_mean_over_its_31_thresholds() {
        // No threshold is above 150; 30 of 31 are above 0 (0 itself is not); 20 above 52.
        for (error, above) in [(150.0, 0.0), (0.0, 30.0), (52.0, 20.0), (149.0, 1.0)] {
            let auc = auc(&[error], 150.0, 5.0).unwrap();
            assert!((auc - above / 31.0).abs() < 1e-12, "{error}: {auc}");
        }
        let errors = [3.0, 77.0, 160.0];
        let by_pck: f64 = (0..=30).map(|k| pck(&errors, f64::from(k) * 5.0).unwrap()).sum();
        assert!((auc(&errors, 150.0, 5.0).unwrap() - by_pck / 31.0).abs() < 1e-12);
        assert_eq!(auc(&errors, 150.0, 0.0), None);
    }
}
