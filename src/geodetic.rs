//! From metres around a camera to latitude, longitude and altitude (WGS 84).

use serde::{Deserialize, Serialize};

/// Where a camera stands and where it looks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Geodetic {
    /// Degrees north.
    pub latitude_degrees: f64,
    /// Degrees east.
    pub longitude_degrees: f64,
    /// Metres above mean sea level: the altitude that autopilots mean.
    pub altitude_metres: f64,
    /// Where the camera looks, degrees clockwise from true north.
    pub heading_degrees: f64,
}

/// A place on the earth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Degrees north.
    pub latitude_degrees: f64,
    /// Degrees east, -180 to 180.
    pub longitude_degrees: f64,
    /// Metres above mean sea level.
    pub altitude_metres: f64,
}

/// Semi-major axis, metres.
const A: f64 = 6_378_137.0;
/// First eccentricity squared.
const E2: f64 = 6.694_379_990_141_316e-3;

impl Geodetic {
    /// The place of a point `ahead`, to the `right` and `up` of the camera, level with the earth,
    /// metres. On the tangent plane: 100 m away the error is a millimetre up to 60 degrees of
    /// latitude, and the earth falls away by another.
    pub fn place(&self, ahead: f64, right: f64, up: f64) -> Place {
        let (sin, cos) = self.heading_degrees.to_radians().sin_cos();
        let (north, east) = (ahead * cos - right * sin, ahead * sin + right * cos);
        let latitude = self.latitude_degrees.to_radians();
        let w2 = 1.0 - E2 * latitude.sin().powi(2);
        let prime_vertical = A / w2.sqrt();
        let meridian = prime_vertical * (1.0 - E2) / w2;
        let h = self.altitude_metres;
        let east_radius = (prime_vertical + h) * latitude.cos().max(1e-6);
        let longitude = self.longitude_degrees + (east / east_radius).to_degrees();
        Place {
            latitude_degrees: self.latitude_degrees + (north / (meridian + h)).to_degrees(),
            longitude_degrees: (longitude + 180.0).rem_euclid(360.0) - 180.0,
            altitude_metres: h + up,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    /// Earth-centred coordinates: the exact formula, to compare with.
    fn ecef(p: Place) -> [f64; 3] {
        let (lat, lon) = (p.latitude_degrees.to_radians(), p.longitude_degrees.to_radians());
        let n = A / (1.0 - E2 * lat.sin().powi(2)).sqrt();
        let h = p.altitude_metres;
        [
            (n + h) * lat.cos() * lon.cos(),
            (n + h) * lat.cos() * lon.sin(),
            (n * (1.0 - E2) + h) * lat.sin(),
        ]
    }

    proptest! {
        #[test]
        fn the_tangent_plane_agrees_with_earth_centred_coordinates(
            latitude_degrees in -60.0f64..60.0,
            longitude_degrees in -180.0f64..180.0,
            heading_degrees in 0.0f64..360.0,
            at in proptest::array::uniform3(-50.0f64..50.0),
        ) {
            let camera = Geodetic {
                latitude_degrees, longitude_degrees, altitude_metres: 120.0, heading_degrees,
            };
            let [ahead, right, up] = at;
            let origin = ecef(camera.place(0.0, 0.0, 0.0));
            // East, north and up at the camera, in earth-centred coordinates.
            let (sin_lat, cos_lat) = latitude_degrees.to_radians().sin_cos();
            let (sin_lon, cos_lon) = longitude_degrees.to_radians().sin_cos();
            let east = [-sin_lon, cos_lon, 0.0];
            let north = [-sin_lat * cos_lon, -sin_lat * sin_lon, cos_lat];
            let zenith = [cos_lat * cos_lon, cos_lat * sin_lon, sin_lat];
            let (sin, cos) = heading_degrees.to_radians().sin_cos();
            let there = ecef(camera.place(ahead, right, up));
            for i in 0..3 {
                let exact = origin[i]
                    + ahead * (cos * north[i] + sin * east[i])
                    + right * (cos * east[i] - sin * north[i])
                    + up * zenith[i];
                prop_assert!((exact - there[i]).abs() < 2e-3, "{} {}", exact, there[i]);
            }
        }
    }

    #[test]
    fn a_camera_that_looks_east_sees_east_ahead_and_south_to_its_right() {
        let camera = Geodetic {
            latitude_degrees: 47.0,
            longitude_degrees: 179.999_999,
            altitude_metres: 400.0,
            heading_degrees: 90.0,
        };
        let ahead = camera.place(10.0, 0.0, 0.0);
        assert!((ahead.latitude_degrees - 47.0).abs() < 1e-9);
        assert!(ahead.longitude_degrees < -179.99, "over the date line: {ahead:?}");
        let right = camera.place(0.0, 10.0, 2.0);
        assert!(right.latitude_degrees < 47.0);
        assert_eq!(right.altitude_metres, 402.0);
    }
}
