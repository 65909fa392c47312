//! Which TensorRT: families of versions, and what was compiled in for them.

use std::fmt;

/// What this program was compiled for, in words; empty: for none.
pub const COMPILED_IN: &str = env!("POSEWIRE_TENSORRT_FAMILIES");

/// Versions whose C++ classes are laid out alike, so that one shim serves them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// 8.5 and 8.6: JetPack 5.1 and 6.0.
    Trt8,
    /// 10: JetPack 6.1 to 7.1.
    Trt10,
    /// 11: JetPack 7.2 and newer.
    Trt11,
    /// TensorRT for RTX, 1.5 to 1.7.
    Rtx,
}

impl Family {
    /// In the order in which they are looked for: the newest first.
    pub const ALL: [Self; 4] = [Self::Trt11, Self::Trt10, Self::Trt8, Self::Rtx];

    /// File names of the library and of its ONNX parser.
    pub const fn files(self) -> [&'static str; 2] {
        match self {
            Self::Trt8 => ["libnvinfer.so.8", "libnvonnxparser.so.8"],
            Self::Trt10 => ["libnvinfer.so.10", "libnvonnxparser.so.10"],
            Self::Trt11 => ["libnvinfer.so.11", "libnvonnxparser.so.11"],
            Self::Rtx => ["libtensorrt_rtx.so.1", "libtensorrt_onnxparser_rtx.so.1"],
        }
    }

    /// Versions that the shim fits.
    const fn served(self) -> ([u32; 2], [u32; 2]) {
        match self {
            Self::Trt8 => ([8, 5], [8, 6]),
            Self::Trt10 => ([10, 0], [10, 99]),
            Self::Trt11 => ([11, 0], [11, 99]),
            Self::Rtx => ([1, 5], [1, 7]),
        }
    }

    /// Does a network's file say all types, or are they chosen by the builder within limits?
    pub const fn strongly_typed(self) -> bool {
        !matches!(self, Self::Trt8)
    }
}

/// An exact version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    family: Family,
    parts: [u32; 3],
}

impl Version {
    /// From the number that the library gives.
    ///
    /// # Errors
    /// If it is none that the family's shim fits: what is supported.
    pub fn of(family: Family, number: i32) -> Result<Self, String> {
        let n = u32::try_from(number).unwrap_or_default();
        // 8.6.1 is 8601, 10.3.0 is 100300, RTX 1.6.1 is 10601.
        let hundred = if family == Family::Trt8 { 10 } else { 100 };
        let parts = [n / (hundred * 100), n / 100 % hundred, n % 100];
        let (least, most) = family.served();
        let here = [parts[0], parts[1]];
        let version = Self { family, parts };
        if here < least || here > most {
            return Err(format!(
                "{version} is not supported: {}.{} to {}.{} is, of this kind of TensorRT",
                least[0], least[1], most[0], most[1]
            ));
        }
        Ok(version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.parts;
        let name = if self.family == Family::Rtx { "TensorRT for RTX" } else { "TensorRT" };
        write!(f, "{name} {major}.{minor}.{patch}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_each_family_writes_them() {
        let text = |family, n| Version::of(family, n).map(|v| v.to_string());
        assert_eq!(text(Family::Trt8, 8502).unwrap(), "TensorRT 8.5.2");
        assert_eq!(text(Family::Trt8, 8601).unwrap(), "TensorRT 8.6.1");
        assert_eq!(text(Family::Trt10, 100_300).unwrap(), "TensorRT 10.3.0");
        assert_eq!(text(Family::Trt10, 101_303).unwrap(), "TensorRT 10.13.3");
        assert_eq!(text(Family::Trt11, 110_400).unwrap(), "TensorRT 11.4.0");
        assert_eq!(text(Family::Rtx, 10_601).unwrap(), "TensorRT for RTX 1.6.1");
    }

    #[test]
    fn a_version_that_the_shim_does_not_fit_is_refused_with_what_is_supported() {
        for (family, number) in [
            (Family::Trt8, 8401),
            (Family::Trt8, 100_300),
            (Family::Trt10, 8601),
            (Family::Rtx, 10_400),
            (Family::Rtx, 10_800),
            (Family::Trt11, 0),
            (Family::Trt11, -5),
        ] {
            let error = Version::of(family, number).unwrap_err();
            assert!(error.contains("not supported") && error.contains(" to "), "{error}");
        }
    }
}
