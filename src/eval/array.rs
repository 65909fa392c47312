//! NumPy arrays: the `.npy` header and the numbers behind it.
//!
//! The format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

/// Why an array cannot be used; the text says what was found.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("{0}")]
pub struct ArrayError(pub String);

fn wrong<T>(problem: impl Into<String>) -> Result<T, ArrayError> {
    Err(ArrayError(problem.into()))
}

/// What an element is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dtype {
    /// NumPy's letter: f (float), i, u (whole numbers), b (bool), U (text), O (Python objects).
    pub kind: char,
    /// Bytes of an element; characters of a text.
    pub size: usize,
    /// Most significant byte first.
    pub big_endian: bool,
}

impl Dtype {
    /// Reads `<f4`, `|b1`, `>i8`, `<U12`, `|O`.
    pub fn parse(text: &str) -> Result<Self, ArrayError> {
        let (order, rest) = match text.chars().next() {
            Some(c @ ('<' | '>' | '|' | '=')) => (c, &text[1..]),
            _ => ('|', text),
        };
        let kind = rest.chars().next().unwrap_or(' ');
        let digits = &rest[kind.len_utf8().min(rest.len())..];
        let size = if digits.is_empty() && kind == 'O' { Ok(8) } else { digits.parse() };
        let known = match (kind, &size) {
            ('f', Ok(2 | 4 | 8)) | ('i' | 'u', Ok(1 | 2 | 4 | 8)) | ('b', Ok(1)) => true,
            ('U', Ok(n)) => *n <= 1 << 16,
            ('O', Ok(_)) => true,
            _ => false,
        };
        match size {
            Ok(size) if known => Ok(Self { kind, size, big_endian: order == '>' }),
            _ => wrong(format!("an array of the type {text:?}, which is not known here")),
        }
    }

    fn bytes(self) -> usize {
        if self.kind == 'U' { 4 * self.size } else { self.size }
    }
}

/// An array, row-major, with its elements still as bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Sizes, outermost first; empty for a single value.
    pub shape: Vec<usize>,
    /// Of the elements.
    pub dtype: Dtype,
    /// The elements; for objects, the pickle.
    pub bytes: Vec<u8>,
}

impl Array {
    /// Checks that there are as many bytes as the shape says, and makes it row-major.
    pub fn new(
        shape: Vec<usize>,
        dtype: Dtype,
        fortran: bool,
        mut bytes: Vec<u8>,
    ) -> Result<Self, ArrayError> {
        if dtype.kind == 'O' {
            return Ok(Self { shape, dtype, bytes });
        }
        let count = shape.iter().try_fold(1usize, |n, s| n.checked_mul(*s));
        let needed = count.and_then(|n| n.checked_mul(dtype.bytes()));
        if needed != Some(bytes.len()) {
            return wrong(format!("an array of shape {shape:?} with {} bytes", bytes.len()));
        }
        if fortran && shape.len() > 1 {
            bytes = row_major(&shape, dtype.bytes(), &bytes);
        }
        Ok(Self { shape, dtype, bytes })
    }

    /// Reads a `.npy` file.
    pub fn read(file: &[u8]) -> Result<Self, ArrayError> {
        let Some(rest) = file.strip_prefix(b"\x93NUMPY") else {
            return wrong("no NumPy array: it does not begin with \\x93NUMPY");
        };
        let (length, start) = match *rest {
            [1, _, a, b, ..] => (usize::from(u16::from_le_bytes([a, b])), 4),
            [2 | 3, _, a, b, c, d, ..] => (u32::from_le_bytes([a, b, c, d]) as usize, 6),
            _ => return wrong("an unknown version of the NumPy format"),
        };
        let end = start + length;
        let header = rest.get(start..end).and_then(|h| std::str::from_utf8(h).ok());
        let Some(header) = header else { return wrong("a truncated NumPy header") };
        let field = |name: &str| {
            let at = header.find(&format!("'{name}':"))? + name.len() + 3;
            Some(header[at..].trim_start())
        };
        let parts = (field("descr"), field("fortran_order"), field("shape"));
        let (Some(descr), Some(order), Some(shape)) = parts else {
            return wrong(format!("a NumPy header that is not understood: {header:?}"));
        };
        let Some(descr) = descr.strip_prefix('\'').and_then(|d| d.split('\'').next()) else {
            return wrong("an array of records, which is not known here");
        };
        let inside = shape.strip_prefix('(').and_then(|s| s.split(')').next()).unwrap_or("?");
        let sizes = inside.split(',').map(str::trim).filter(|s| !s.is_empty());
        let Ok(shape) = sizes.map(|s| s.trim_end_matches('L').parse()).collect() else {
            return wrong(format!("a NumPy header that is not understood: {header:?}"));
        };
        let fortran = order.starts_with("True");
        Self::new(shape, Dtype::parse(descr)?, fortran, rest[end..].to_vec())
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Has it no elements?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Element `i` in row-major order as a number.
    fn number(&self, i: usize) -> f64 {
        let n = self.dtype.bytes();
        let mut raw = [0u8; 8];
        raw[..n].copy_from_slice(&self.bytes[i * n..(i + 1) * n]);
        if self.dtype.big_endian {
            raw[..n].reverse();
        }
        let word = u64::from_le_bytes(raw);
        match (self.dtype.kind, n) {
            ('f', 2) => half(word as u16),
            ('f', 4) => f64::from(f32::from_bits(word as u32)),
            ('f', _) => f64::from_bits(word),
            // Sign-extended by shifting up and back.
            ('i', _) => ((word << (64 - 8 * n)) as i64 >> (64 - 8 * n)) as f64,
            _ => word as f64,
        }
    }

    /// All elements as numbers, row-major.
    pub fn numbers(&self) -> Result<Vec<f64>, ArrayError> {
        if matches!(self.dtype.kind, 'O' | 'U') {
            return wrong("an array of objects or texts where numbers are needed");
        }
        Ok((0..self.len()).map(|i| self.number(i)).collect())
    }

    /// All elements as texts.
    pub fn texts(&self) -> Result<Vec<String>, ArrayError> {
        if self.dtype.kind != 'U' {
            return wrong("an array of something else where texts are needed");
        }
        let character = |raw: &[u8]| {
            let mut four = [raw[0], raw[1], raw[2], raw[3]];
            if self.dtype.big_endian {
                four.reverse();
            }
            char::from_u32(u32::from_le_bytes(four)).unwrap_or('\u{fffd}')
        };
        let size = self.dtype.bytes();
        let text = |i: usize| {
            let raw = &self.bytes[i * size..(i + 1) * size];
            let all: String = raw.chunks_exact(4).map(character).collect();
            all.trim_end_matches('\0').to_owned()
        };
        Ok((0..self.len()).map(text).collect())
    }
}

fn row_major(shape: &[usize], size: usize, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut index = vec![0usize; shape.len()];
    for _ in 0..shape.iter().product::<usize>() {
        let mut place = 0;
        for (i, n) in index.iter().zip(shape).rev() {
            place = place * n + i;
        }
        out.extend_from_slice(&bytes[place * size..(place + 1) * size]);
        for (i, n) in index.iter_mut().zip(shape).rev() {
            *i += 1;
            if *i < *n {
                break;
            }
            *i = 0;
        }
    }
    out
}

/// An IEEE 754 half.
fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    sign * match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        e => (1.0 + fraction / 1024.0) * 2f64.powi(e - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(header: &str, data: &[u8]) -> Vec<u8> {
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend((header.len() as u16).to_le_bytes());
        file.extend(header.as_bytes());
        file.extend(data);
        file
    }

    #[test]
    fn numbers_of_every_type_and_order_are_read() {
        let file = npy(
            "{'descr': '<i2', 'fortran_order': False, 'shape': (3,), }",
            &[1, 0, 255, 255, 0, 128],
        );
        assert_eq!(Array::read(&file).unwrap().numbers().unwrap(), [1.0, -1.0, -32768.0]);
        let file =
            npy("{'descr': '>f4', 'fortran_order': False, 'shape': (), }", &1.5f32.to_be_bytes());
        let one = Array::read(&file).unwrap();
        assert_eq!((one.shape.len(), one.numbers().unwrap()), (0, vec![1.5]));
        let file =
            npy("{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3), }", &[1, 4, 2, 5, 3, 6]);
        assert_eq!(Array::read(&file).unwrap().numbers().unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let halves: Vec<u8> =
            [0x3c00u16, 0xc100, 0x0001].iter().flat_map(|h| h.to_le_bytes()).collect();
        let file = npy("{'descr': '<f2', 'fortran_order': False, 'shape': (3,)}", &halves);
        assert_eq!(Array::read(&file).unwrap().numbers().unwrap(), [1.0, -2.5, 2f64.powi(-24)]);
        let text: Vec<u8> = "ab\0ç\0\0".chars().flat_map(|c| (c as u32).to_le_bytes()).collect();
        let file = npy("{'descr': '<U3', 'fortran_order': False, 'shape': (2,)}", &text);
        assert_eq!(Array::read(&file).unwrap().texts().unwrap(), ["ab", "ç"]);
    }

    #[test]
    fn what_is_no_array_is_named() {
        let told = |file: &[u8]| Array::read(file).unwrap_err().to_string();
        assert!(told(b"PK..").contains("NUMPY"));
        assert!(told(&npy("{'descr': '<f4'", &[])).contains("not understood"));
        let short = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", &[0; 7]);
        assert!(told(&short).contains("7 bytes"));
        let huge =
            npy("{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999, 9999999999)}", &[]);
        assert!(told(&huge).contains("0 bytes"));
        let records = npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': ()}", &[]);
        assert!(told(&records).contains("records"));
        let complex = npy("{'descr': '<c8', 'fortran_order': False, 'shape': (1,)}", &[0; 8]);
        assert!(told(&complex).contains("<c8"));
    }
}
