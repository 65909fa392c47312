//! Which of a camera's formats to take. No device needed.

use super::formats::{KNOWN, Known, name, pixel_format};

/// What may be asked of a camera behind the `?` of its URI.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Wish {
    pub size: Option<(u32, u32)>,
    /// The kernel's four-letter code.
    pub format: Option<u32>,
}

impl Wish {
    /// Reads `size=1280x720&format=MJPG`.
    pub(super) fn parse(query: &str) -> Result<Self, String> {
        let mut wish = Self::default();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some(("size", value)) => {
                    let (w, h) = value.split_once('x').unwrap_or_default();
                    match (w.parse(), h.parse()) {
                        (Ok(w), Ok(h)) if w > 0 && h > 0 => wish.size = Some((w, h)),
                        _ => return Err(format!("size={value}: write it as size=1280x720")),
                    }
                }
                Some(("format", value)) => {
                    // The kernel's code of Y16 ends in a blank.
                    let code = format!("{value:<4}").as_bytes().try_into().map(u32::from_le_bytes);
                    wish.format = match code {
                        Ok(code) if pixel_format(code).is_some() => Some(code),
                        _ => {
                            let all: Vec<_> = KNOWN.iter().map(|k| name(k.code)).collect();
                            return Err(format!(
                                "format={value} is not read; these are: {}",
                                all.join(", ")
                            ));
                        }
                    };
                }
                _ => return Err(format!("{part}: only size= and format= are known")),
            }
        }
        Ok(wish)
    }
}

/// A format that a camera offers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Offer {
    pub code: u32,
    /// It has the wanted size, or does not say which sizes it has.
    pub fits: bool,
    /// Frames per second at most at that size, if it says.
    pub rate: Option<f64>,
}

/// The best of `offers` for pictures of `size` at `rate` frames per second.
///
/// First come formats that have the size, then those that reach the rate (or the highest of all).
/// Of these the cheapest to sample: raw pixels up to 640x480, JPEG above, because USB 2 carries
/// larger raw pictures at a few frames per second only, which not every camera says.
///
/// # Errors
/// If none can be read, or the format that was asked for is not there.
pub(super) fn choose(
    offers: &[Offer],
    size: (u32, u32),
    rate: f64,
    wish: &Wish,
) -> Result<u32, String> {
    let list = || offers.iter().map(|o| name(o.code)).collect::<Vec<_>>().join(", ");
    if let Some(wanted) = wish.format {
        return if offers.iter().any(|o| o.code == wanted) {
            Ok(wanted)
        } else {
            Err(format!("the camera has no {}; it has: {}", name(wanted), list()))
        };
    }
    let large = u64::from(size.0) * u64::from(size.1) > 640 * 480;
    // Less is better, in this order.
    let rank = |known: &Known, position: usize| {
        let offer = offers.iter().find(|o| o.code == known.code)?;
        let lacking = (rate * 0.99 - offer.rate.unwrap_or(rate)).max(0.0);
        let awkward = large && !known.format.is_compressed();
        Some((!offer.fits, (lacking * 10.0) as u64, known.basic, awkward, position))
    };
    let ranked = KNOWN.iter().enumerate().filter_map(|(i, known)| Some((rank(known, i)?, known)));
    ranked
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, known)| known.code)
        .ok_or_else(|| format!("none of the camera's pixel formats is read: {}", list()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn code(letters: &[u8; 4]) -> u32 {
        u32::from_le_bytes(*letters)
    }

    const YUYV: u32 = code(b"YUYV");
    const MJPG: u32 = code(b"MJPG");
    const NV12: u32 = code(b"NV12");
    const H264: u32 = code(b"H264");
    const RGGB: u32 = code(b"RGGB");

    fn any(codes: &[u32]) -> Vec<Offer> {
        codes.iter().map(|&code| Offer { code, fits: true, rate: None }).collect()
    }

    #[test]
    fn small_pictures_are_taken_raw_and_large_ones_as_jpeg() {
        let offered = any(&[H264, MJPG, YUYV, RGGB]);
        let wish = Wish::default();
        assert_eq!(choose(&offered, (640, 480), 30.0, &wish), Ok(YUYV));
        assert_eq!(choose(&offered, (1280, 720), 30.0, &wish), Ok(MJPG));
        assert_eq!(choose(&any(&[NV12]), (1280, 720), 30.0, &wish), Ok(NV12));
        // A demosaiced picture is the last resort.
        assert_eq!(choose(&any(&[RGGB, NV12]), (1280, 720), 30.0, &wish), Ok(NV12));
        assert_eq!(choose(&any(&[RGGB]), (1280, 720), 30.0, &wish), Ok(RGGB));
        let asked = Wish { format: Some(YUYV), ..wish };
        assert_eq!(choose(&offered, (1280, 720), 30.0, &asked), Ok(YUYV));
        let missing = choose(&any(&[NV12]), (1280, 720), 30.0, &asked).unwrap_err();
        assert!(missing.contains("it has: NV12"), "{missing}");
        let none = choose(&any(&[H264]), (640, 480), 30.0, &wish).unwrap_err();
        assert!(none.contains("H264"), "{none}");
    }

    #[test]
    fn a_format_that_has_the_size_and_the_rate_goes_before_one_that_is_cheaper() {
        let wish = Wish::default();
        let offers = [
            Offer { code: YUYV, fits: true, rate: Some(10.0) },
            Offer { code: MJPG, fits: true, rate: Some(30.0) },
        ];
        assert_eq!(choose(&offers, (640, 480), 30.0, &wish), Ok(MJPG));
        assert_eq!(choose(&offers, (640, 480), 10.0, &wish), Ok(YUYV));
        // None reaches it: the fastest.
        assert_eq!(choose(&offers, (640, 480), 120.0, &wish), Ok(MJPG));
        let offers = [
            Offer { code: MJPG, fits: false, rate: None },
            Offer { code: YUYV, fits: true, rate: Some(5.0) },
        ];
        assert_eq!(choose(&offers, (1920, 1080), 30.0, &wish), Ok(YUYV));
    }

    #[test]
    fn wishes_are_read_and_wrong_ones_named() {
        let wish = Wish::parse("size=1280x720&format=MJPG").unwrap();
        assert_eq!(wish, Wish { size: Some((1280, 720)), format: Some(MJPG) });
        assert_eq!(Wish::parse("").unwrap(), Wish::default());
        assert_eq!(Wish::parse("format=Y16").unwrap().format, Some(code(b"Y16 ")));
        for (query, says) in [
            ("size=1280", "size=1280x720"),
            ("size=0x5", "size=1280x720"),
            ("format=H264", "YUYV"),
            ("format=toolong", "YUYV"),
            ("fps=5", "only size="),
        ] {
            let error = Wish::parse(query).unwrap_err();
            assert!(error.contains(says), "{query}: {error}");
        }
    }
}
