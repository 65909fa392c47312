//! What a device can do, and setting it up: questions and wishes, no streaming.

use rustix::io::Errno;

use super::abi::*;
use super::choose::{Offer, Wish, choose};
use super::formats::{name, pixel_format};
use super::sys::Device;
use crate::frame::PixelFormat;

/// What a camera says of itself.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub driver: String,
    pub card: String,
    pub bus: String,
    pub capabilities: u32,
}

impl Identity {
    /// It gives pictures, by either interface.
    pub fn captures(&self) -> bool {
        self.capabilities & (CAP_VIDEO_CAPTURE | CAP_VIDEO_CAPTURE_MPLANE) != 0
    }

    pub fn multi_planar(&self) -> bool {
        self.capabilities & CAP_VIDEO_CAPTURE == 0
    }
}

/// Pictures of what size a format has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Sizes {
    One(u32, u32),
    /// Minimum, maximum and step of the width, then of the height.
    Steps([u32; 6]),
}

impl Sizes {
    fn contains(self, (width, height): (u32, u32)) -> bool {
        let fits = |v: u32, min: u32, max: u32, step: u32| {
            (min..=max).contains(&v) && (v - min).is_multiple_of(step.max(1))
        };
        match self {
            Self::One(w, h) => (w, h) == (width, height),
            Self::Steps(s) => fits(width, s[0], s[1], s[2]) && fits(height, s[3], s[4], s[5]),
        }
    }
}

/// What was agreed with a device.
pub(super) struct Agreed {
    pub pix: PixFormat,
    pub format: PixelFormat,
    /// Frames per second, where the driver says.
    pub rate: Option<f64>,
}

impl Device {
    /// Who it is; uses the multi-planar interface from now on if the device has no other.
    pub(super) fn identity(&mut self) -> Result<Identity, Errno> {
        let mut c = Capability {
            driver: [0; 16],
            card: [0; 32],
            bus_info: [0; 32],
            version: 0,
            capabilities: 0,
            device_caps: 0,
            reserved: [0; 3],
        };
        self.call(Call::QueryCapability(&mut c))?;
        // `capabilities` are the whole hardware's, `device_caps` this node's.
        let own = c.capabilities & CAP_DEVICE_CAPS != 0;
        let identity = Identity {
            driver: text(&c.driver),
            card: text(&c.card),
            bus: text(&c.bus_info),
            capabilities: if own { c.device_caps } else { c.capabilities },
        };
        if identity.captures() && identity.multi_planar() {
            self.multi_planar();
        }
        Ok(identity)
    }

    /// Code and description of every pixel format.
    pub(super) fn formats(&mut self) -> Result<Vec<(u32, String)>, Errno> {
        let mut all = Vec::new();
        loop {
            let (index, kind) = (all.len() as u32, self.kind());
            let mut d = FormatDescription { index, kind, ..FormatDescription::default() };
            match self.call(Call::EnumerateFormat(&mut d)) {
                Ok(()) if all.len() < 256 => all.push((d.pixelformat, text(&d.description))),
                Ok(()) | Err(Errno::INVAL) => return Ok(all),
                Err(e) => return Err(e),
            }
        }
    }

    /// The picture sizes of a format; empty if the driver does not say.
    pub(super) fn sizes(&mut self, code: u32) -> Vec<Sizes> {
        let mut all = Vec::new();
        for index in 0..256 {
            let mut s = FrameSize { index, pixel_format: code, ..FrameSize::default() };
            if self.call(Call::EnumerateSize(&mut s)).is_err() {
                break;
            }
            if s.kind != 1 {
                return vec![Sizes::Steps(s.size)];
            }
            all.push(Sizes::One(s.size[0], s.size[1]));
        }
        all
    }

    /// The frame rates of a format at a size, fastest first; of a range, its ends. Empty if the
    /// driver does not say.
    pub(super) fn rates(&mut self, code: u32, (width, height): (u32, u32)) -> Vec<f64> {
        let mut all = Vec::new();
        for index in 0..256 {
            let empty = FrameInterval::default();
            let mut i = FrameInterval { index, pixel_format: code, width, height, ..empty };
            if self.call(Call::EnumerateInterval(&mut i)).is_err() {
                break;
            }
            let rate = |[seconds, parts]: [u32; 2]| f64::from(parts) / f64::from(seconds.max(1));
            all.push(rate(i.interval[0]));
            if i.kind != 1 {
                all.push(rate(i.interval[1]));
                break;
            }
        }
        all.retain(|rate| *rate > 0.0);
        all.sort_unstable_by(|a, b| b.total_cmp(a));
        all.dedup();
        all
    }

    fn current(&mut self) -> Result<PixFormat, Errno> {
        let mut format = Format::new(self.kind());
        self.call(Call::GetFormat(&mut format))?;
        Ok(format.read().unwrap_or_default())
    }

    /// Asks for `rate` frames per second; gives what the driver will do, if it says.
    fn set_rate(&mut self, rate: f64) -> Result<Option<f64>, Errno> {
        let mut p = StreamParameters {
            kind: self.kind(),
            capability: 0,
            mode: 0,
            numerator: 1000,
            denominator: (rate * 1000.0).round() as u32,
            extended: 0,
            read_buffers: 0,
            reserved: [0; 4],
            rest: [0; 160],
        };
        self.call(Call::SetParameters(&mut p))?;
        let known = p.numerator > 0 && p.denominator > 0;
        Ok(known.then(|| f64::from(p.denominator) / f64::from(p.numerator)))
    }

    /// Agrees on a format, a size and a rate with the device, as near to `wish` as it can, and says
    /// what became of it. `asked` is the wished rate, `usual` the one to ask for without.
    pub(super) fn negotiate(
        &mut self,
        uri: &str,
        wish: &Wish,
        asked: Option<f64>,
        usual: f64,
    ) -> Result<Agreed, Refusal> {
        let offered = self.formats().map_err(Refusal::failed("list formats"))?;
        let current = self.current().map_err(Refusal::failed("read the format"))?;
        let size = wish.size.unwrap_or((current.width, current.height));
        let rate = asked.unwrap_or(usual);
        let mut offers = Vec::with_capacity(offered.len());
        for (code, _) in offered {
            let sizes = self.sizes(code);
            let fits = sizes.is_empty() || sizes.iter().any(|s| s.contains(size));
            let rate = self.rates(code, size).first().copied();
            offers.push(Offer { code, fits, rate });
        }
        let code = choose(&offers, size, rate, wish).map_err(Refusal::Unusable)?;
        let mut format = Format::asking(self.kind(), code, size.0, size.1);
        self.call(Call::SetFormat(&mut format)).map_err(Refusal::failed("set the format"))?;
        let got = name(format.raw[2]);
        let (Some(pix), Some(pixel_format)) = (format.read(), pixel_format(format.raw[2])) else {
            let asked = name(code);
            return Err(Refusal::Unusable(format!("asked for {asked}, the camera gives {got}")));
        };
        // Not every driver has a rate to set; what it does then shows in the stamps. Without a
        // wish, ask all the same: some drivers begin at their slowest.
        let given = self.set_rate(rate).unwrap_or_else(|e| {
            log::warn!("{uri}: the rate cannot be set: {e}");
            None
        });
        // What was asked for and is not to be had; the summary says what there is.
        let other_size = wish.size.filter(|size| *size != (pix.width, pix.height));
        if let Some((width, height)) = other_size {
            let best = (pix.width, pix.height);
            log::warn!(
                "{uri}: {width}x{height} is not to be had as {got}: {}x{} is the nearest",
                best.0,
                best.1
            );
        }
        if let (Some(asked), Some(given)) = (asked, given)
            && (given - asked).abs() > 0.02 * asked
        {
            log::warn!("{uri}: {asked} fps are not to be had: {given:.2} fps are the nearest");
        }
        Ok(Agreed { pix, format: pixel_format, rate: given })
    }

    /// Has the device say when its picture's size or format changes, if it can.
    pub(super) fn watch_changes(&mut self) {
        let mut wanted = Subscription { kind: EVENT_SOURCE_CHANGE, ..Subscription::default() };
        // Webcams have no such event.
        let _ = self.call(Call::Subscribe(&mut wanted));
    }

    /// Takes all waiting events; true if one says that the picture has changed.
    pub(super) fn changed(&mut self) -> bool {
        let mut changed = false;
        for _ in 0..16 {
            let mut event = Event::default();
            if self.call(Call::TakeEvent(&mut event)).is_err() {
                break;
            }
            // The first word of its data says what changed: 1 is the resolution.
            changed |= event.kind == EVENT_SOURCE_CHANGE;
        }
        changed
    }
}

/// Why nothing was agreed.
pub(super) enum Refusal {
    Unusable(String),
    Failed(&'static str, Errno),
}

impl Refusal {
    fn failed(what: &'static str) -> impl Fn(Errno) -> Self {
        move |e| Self::Failed(what, e)
    }
}
