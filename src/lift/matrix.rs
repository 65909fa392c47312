//! Vectors and matrices of three: what the root position and its filter need.

/// A vector.
pub(super) type V3 = [f64; 3];
/// A matrix, by rows.
pub(super) type M3 = [[f64; 3]; 3];

pub(super) const ZERO: M3 = [[0.0; 3]; 3];

pub(super) fn dot(a: V3, b: V3) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(super) fn cross(a: V3, b: V3) -> V3 {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

pub(super) fn add(a: V3, b: V3) -> V3 {
    std::array::from_fn(|i| a[i] + b[i])
}

pub(super) fn sub(a: V3, b: V3) -> V3 {
    std::array::from_fn(|i| a[i] - b[i])
}

pub(super) fn scaled(a: V3, k: f64) -> V3 {
    a.map(|x| x * k)
}

pub(super) fn norm(a: V3) -> f64 {
    dot(a, a).sqrt()
}

/// Its direction; `None` where it has none.
pub(super) fn unit(a: V3) -> Option<V3> {
    let n = norm(a);
    (n > 1e-9).then(|| scaled(a, 1.0 / n))
}

/// `m v`.
pub(super) fn apply(m: &M3, v: V3) -> V3 {
    m.map(|row| dot(row, v))
}

pub(super) fn transposed(m: &M3) -> M3 {
    std::array::from_fn(|i| std::array::from_fn(|k| m[k][i]))
}

/// `a b`.
pub(super) fn product(a: &M3, b: &M3) -> M3 {
    std::array::from_fn(|i| std::array::from_fn(|k| (0..3).map(|j| a[i][j] * b[j][k]).sum()))
}

/// `a + k b`.
pub(super) fn plus(a: &M3, k: f64, b: &M3) -> M3 {
    std::array::from_fn(|i| std::array::from_fn(|j| a[i][j] + k * b[i][j]))
}

/// `v vᵀ`.
pub(super) fn outer(v: V3) -> M3 {
    v.map(|a| v.map(|b| a * b))
}

/// `k` times the unit matrix.
pub(super) fn diagonal(k: f64) -> M3 {
    [[k, 0.0, 0.0], [0.0, k, 0.0], [0.0, 0.0, k]]
}

/// The inverse of a symmetric positive definite matrix, by its cofactors; `None` where it is
/// singular to working precision.
pub(super) fn inverse(m: &M3) -> Option<M3> {
    let [a, b, c] = *m;
    let (x, y, z) = (cross(b, c), cross(c, a), cross(a, b));
    let determinant = dot(a, x);
    let size = norm(a) * norm(b) * norm(c);
    // Also refuses what is not a number.
    if determinant.is_nan() || size.is_nan() || determinant <= 1e-12 * size {
        return None;
    }
    let columns = [x, y, z].map(|v| scaled(v, 1.0 / determinant));
    Some(transposed(&columns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_times_its_inverse_is_one_and_a_flat_one_has_none() {
        let m = [[4.0, 1.0, -0.5], [1.0, 3.0, 0.2], [-0.5, 0.2, 0.01 + 0.1]];
        let one = product(&m, &inverse(&m).unwrap());
        for (i, row) in one.iter().enumerate() {
            for (k, v) in row.iter().enumerate() {
                assert!((v - f64::from(u8::from(i == k))).abs() < 1e-12);
            }
        }
        assert_eq!(inverse(&outer([1.0, 2.0, 3.0])), None);
        assert_eq!(inverse(&[[f64::NAN; 3]; 3]), None);
    }
}
