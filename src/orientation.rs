//! How a picture is turned before anybody looks at it.

use std::fmt;
use std::str::FromStr;

/// Mirrored left to right or not, then turned clockwise by quarters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Orientation {
    /// Left and right are exchanged, before the turn.
    pub mirror: bool,
    /// Quarter turns clockwise, 0 to 3.
    pub quarters: u8,
}

/// Text that names no orientation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?}: write 0, 90, 180 or 270 (degrees clockwise), mirror, or both as in 90,mirror")]
pub struct OrientationError(String);

impl Orientation {
    /// From degrees clockwise.
    ///
    /// # Errors
    /// If these are no whole quarters.
    pub fn new(degrees: u32, mirror: bool) -> Result<Self, OrientationError> {
        if !degrees.is_multiple_of(90) || degrees >= 360 {
            return Err(OrientationError(degrees.to_string()));
        }
        Ok(Self { mirror, quarters: (degrees / 90) as u8 })
    }

    /// True if pictures stay as they are.
    pub fn is_upright(self) -> bool {
        self == Self::default()
    }

    /// Width and height of the turned picture.
    pub fn size(self, width: u32, height: u32) -> (u32, u32) {
        if self.quarters % 2 == 1 { (height, width) } else { (width, height) }
    }

    /// Where a point of a picture of `width` x `height` goes, pixels.
    pub fn point(self, [x, y]: [f64; 2], width: u32, height: u32) -> [f64; 2] {
        let (right, bottom) = (f64::from(width) - 1.0, f64::from(height) - 1.0);
        let x = if self.mirror { right - x } else { x };
        match self.quarters {
            0 => [x, y],
            1 => [bottom - y, x],
            2 => [right - x, bottom - y],
            _ => [y, right - x],
        }
    }

    /// Where a direction of the camera's frame goes: the same as for points, about the viewing
    /// direction. A mirrored one is that of a mirrored world.
    pub fn direction(self, [x, y, z]: [f64; 3]) -> [f64; 3] {
        let x = if self.mirror { -x } else { x };
        match self.quarters {
            0 => [x, y, z],
            1 => [-y, x, z],
            2 => [-x, -y, z],
            _ => [y, -x, z],
        }
    }
}

impl FromStr for Orientation {
    type Err = OrientationError;

    fn from_str(text: &str) -> Result<Self, OrientationError> {
        let wrong = || OrientationError(text.to_owned());
        let (mut degrees, mut mirror) = (None, false);
        for part in text.split(',').map(str::trim) {
            match part {
                "mirror" if !mirror => mirror = true,
                _ if degrees.is_none() => degrees = Some(part.parse().map_err(|_| wrong())?),
                _ => return Err(wrong()),
            }
        }
        Self::new(degrees.unwrap_or(0), mirror).map_err(|_| wrong())
    }
}

impl fmt::Display for Orientation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", u32::from(self.quarters) * 90)?;
        if self.mirror { f.write_str(",mirror") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        for mirror in [false, true] {
            for degrees in [0, 90, 180, 270] {
                let o = Orientation::new(degrees, mirror).unwrap();
                assert_eq!(o.to_string().parse(), Ok(o));
            }
        }
        assert_eq!("mirror".parse(), Orientation::new(0, true));
        assert_eq!("mirror,90".parse(), Orientation::new(90, true));
        for wrong in ["", "45", "360", "-90", "mirror,mirror", "90,180", "upside"] {
            assert!(wrong.parse::<Orientation>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_clockwise_quarter_takes_the_top_left_to_the_top_right() {
        let quarter = Orientation { quarters: 1, mirror: false };
        assert_eq!(quarter.size(640, 480), (480, 640));
        assert_eq!(quarter.point([0.0, 0.0], 640, 480), [479.0, 0.0]);
        assert_eq!(quarter.point([639.0, 0.0], 640, 480), [479.0, 639.0]);
        let mirror = Orientation { quarters: 0, mirror: true };
        assert_eq!(mirror.point([0.0, 7.0], 640, 480), [639.0, 7.0]);
    }
}
