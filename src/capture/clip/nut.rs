//! The NUT container, as far as a stream of one video track needs it: bytes in, frame headers out.
//!
//! Source: the NUT Open Container Format specification, draft of 2013 (version 3 and 4), which
//! ffmpeg writes. Checksums are not verified: the bytes come through a pipe from our own child.

const FILE_ID: &[u8] = b"nut/multimedia container\0";
const MAIN: u64 = 0x4e4d_7a56_1f5f_04ad;
const STREAM: u64 = 0x4e53_1140_5bf2_f9db;
const SYNC: u64 = 0x4e4b_e4ad_eeca_4569;

const CODED_PTS: u64 = 8;
const STREAM_ID: u64 = 16;
const SIZE_MSB: u64 = 32;
const CHECKSUM: u64 = 64;
const RESERVED: u64 = 128;
const SIDE_DATA: u64 = 256;
const HEADER_IDX: u64 = 1024;
const MATCH_TIME: u64 = 2048;
const CODED: u64 = 4096;
const INVALID: u64 = 8192;

/// Not NUT, or of a kind that ffmpeg does not write.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a NUT stream as expected: {0}")]
pub(super) struct NutError(&'static str);

/// What stands at the front of the bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// More bytes are needed to tell.
    NeedMore,
    /// A header of that many bytes, taken note of.
    Header(usize),
    /// A frame: its header's bytes, then `size` bytes of pixels.
    Frame {
        /// Bytes of the header.
        header: usize,
        /// Bytes of the picture.
        size: usize,
        /// Presentation time in nanoseconds.
        time: i64,
    },
}

/// What a frame's first byte stands for.
#[derive(Clone, Copy, Default)]
struct FrameCode {
    flags: u64,
    stream: u64,
    size_mul: u64,
    size_lsb: u64,
    pts_delta: i64,
    reserved: u64,
    header_idx: u64,
}

/// The demultiplexer's state.
pub(super) struct Nut {
    begun: bool,
    time_bases: Vec<(u64, u64)>,
    codes: Vec<FrameCode>,
    /// Lengths of the elision headers: bytes that frames may leave out.
    elisions: Vec<usize>,
    /// Picture size of stream 0, once its header was seen.
    pub size: Option<(u32, u32)>,
    time_base: usize,
    pts_shift: u32,
    last_pts: i64,
}

impl Nut {
    pub(super) fn new() -> Self {
        Self {
            begun: false,
            time_bases: Vec::new(),
            codes: Vec::new(),
            elisions: Vec::new(),
            size: None,
            time_base: 0,
            pts_shift: 0,
            last_pts: 0,
        }
    }

    /// Looks at the front of `bytes`. After [`Item::Header`] and [`Item::Frame`] the caller drops
    /// what was named and calls again; after [`Item::NeedMore`] it calls again with more.
    pub(super) fn next(&mut self, bytes: &[u8]) -> Result<Item, NutError> {
        let mut r = Bits { bytes, at: 0 };
        match self.item(&mut r) {
            Ok(item) => Ok(item),
            Err(Stop::Short) => Ok(Item::NeedMore),
            Err(Stop::Wrong(why)) => Err(NutError(why)),
        }
    }

    fn item(&mut self, r: &mut Bits<'_>) -> Result<Item, Stop> {
        if !self.begun {
            if r.take(FILE_ID.len())? != FILE_ID {
                return Err(Stop::Wrong("it does not begin as NUT does"));
            }
            self.begun = true;
            return Ok(Item::Header(r.at));
        }
        // Every header's start code begins with an N, which is never a frame code.
        if r.peek()? != b'N' {
            return self.frame(r);
        }
        let code = r.u64()?;
        let forward = usize::try_from(r.v()?).map_err(|_| Stop::Wrong("header of no size"))?;
        if forward > 1 << 24 {
            return Err(Stop::Wrong("header of more than 16 MiB"));
        }
        if forward > 4096 {
            r.take(4)?;
        }
        let mut body = Bits { bytes: r.take(forward)?, at: 0 };
        let parsed = match code {
            MAIN => self.main(&mut body),
            STREAM => self.stream(&mut body),
            SYNC => self.sync(&mut body),
            _ => Ok(()),
        };
        // The header is here in full: a read beyond it is no reason to wait for more.
        parsed.map_err(|stop| match stop {
            Stop::Short => Stop::Wrong("header shorter than its fields"),
            wrong => wrong,
        })?;
        Ok(Item::Header(r.at))
    }

    fn main(&mut self, r: &mut Bits<'_>) -> Result<(), Stop> {
        let version = r.v()?;
        if !(2..=4).contains(&version) {
            return Err(Stop::Wrong("a version of NUT that is not known"));
        }
        if version > 3 {
            r.v()?;
        }
        if r.v()? != 1 {
            return Err(Stop::Wrong("more than one stream"));
        }
        r.v()?; // max_distance
        let count = r.v()?;
        if !(1..=64).contains(&count) {
            return Err(Stop::Wrong("a strange number of time bases"));
        }
        self.time_bases.clear();
        for _ in 0..count {
            let (num, den) = (r.v()?, r.v()?);
            if num == 0 || den == 0 || num > 1 << 31 || den > 1 << 31 {
                return Err(Stop::Wrong("a time base of zero"));
            }
            self.time_bases.push((num, den));
        }

        self.codes.clear();
        self.codes.resize(256, FrameCode { flags: INVALID, ..FrameCode::default() });
        let (mut pts, mut mul, mut stream, mut header_idx) = (0, 1, 0, 0);
        let mut i = 0usize;
        while i < 256 {
            let flags = r.v()?;
            let fields = r.v()?;
            let (mut size, mut reserved) = (0, 0);
            if fields > 0 {
                pts = r.s()?;
            }
            if fields > 1 {
                mul = r.v()?;
            }
            if fields > 2 {
                stream = r.v()?;
            }
            if fields > 3 {
                size = r.v()?;
            }
            if fields > 4 {
                reserved = r.v()?;
            }
            let count = if fields > 5 { r.v()? } else { mul.saturating_sub(size) };
            if fields > 6 {
                r.s()?; // match_time_delta
            }
            if fields > 7 {
                header_idx = r.v()?;
            }
            for _ in 8..fields {
                r.v()?;
            }
            if count == 0 {
                return Err(Stop::Wrong("a table of frame codes that does not advance"));
            }
            let mut j = 0;
            while j < count && i < 256 {
                if i != usize::from(b'N') {
                    self.codes[i] = FrameCode {
                        flags,
                        stream,
                        size_mul: mul,
                        size_lsb: size + j,
                        pts_delta: pts,
                        reserved,
                        header_idx,
                    };
                    j += 1;
                }
                i += 1;
            }
        }
        self.elisions.clear();
        self.elisions.push(0);
        if r.at < r.bytes.len() {
            for _ in 0..r.v()?.min(127) {
                let len = r.v()? as usize;
                r.take(len)?;
                self.elisions.push(len);
            }
        }
        Ok(())
    }

    fn stream(&mut self, r: &mut Bits<'_>) -> Result<(), Stop> {
        r.v()?; // stream_id: there is one
        if r.v()? != 0 {
            return Err(Stop::Wrong("the stream is no video"));
        }
        let fourcc = r.v()? as usize;
        r.take(fourcc)?;
        self.time_base = r.v()? as usize;
        if self.time_base >= self.time_bases.len() {
            return Err(Stop::Wrong("a time base that was not declared"));
        }
        self.pts_shift = r.v()?.min(62) as u32;
        r.v()?; // max_pts_distance
        r.v()?; // decode_delay
        r.v()?; // stream_flags
        let specific = r.v()? as usize;
        r.take(specific)?;
        let (width, height) = (r.v()?, r.v()?);
        match (u32::try_from(width), u32::try_from(height)) {
            (Ok(w), Ok(h)) if w > 0 && h > 0 => self.size = Some((w, h)),
            _ => return Err(Stop::Wrong("a picture of no size")),
        }
        Ok(())
    }

    /// A sync point names the time in any time base; predictions of `pts` start from it.
    fn sync(&mut self, r: &mut Bits<'_>) -> Result<(), Stop> {
        let coded = r.v()?;
        let count = self.time_bases.len() as u64;
        if count == 0 {
            return Err(Stop::Wrong("a sync point before the main header"));
        }
        let (num, den) = self.time_bases[(coded % count) as usize];
        let (own_num, own_den) = self.time_bases[self.time_base];
        let ticks = i128::from(coded / count) * i128::from(num) * i128::from(own_den);
        self.last_pts = clamp(ticks / (i128::from(den) * i128::from(own_num)));
        Ok(())
    }

    fn frame(&mut self, r: &mut Bits<'_>) -> Result<Item, Stop> {
        let code = r.take(1)?[0];
        let Some(&entry) = self.codes.get(usize::from(code)) else {
            return Err(Stop::Wrong("a frame before the main header"));
        };
        let mut flags = entry.flags;
        if flags & INVALID != 0 {
            return Err(Stop::Wrong("a frame code that was not declared"));
        }
        if flags & CODED != 0 {
            flags ^= r.v()?;
        }
        let stream = if flags & STREAM_ID != 0 { r.v()? } else { entry.stream };
        if stream != 0 {
            return Err(Stop::Wrong("a frame of another stream"));
        }
        let pts = if flags & CODED_PTS != 0 {
            let coded = i64::try_from(r.v()?).map_err(|_| Stop::Wrong("a time out of range"))?;
            let span = 1i64 << self.pts_shift;
            if coded < span {
                let mask = span - 1;
                let delta = self.last_pts - mask / 2;
                ((coded.wrapping_sub(delta)) & mask) + delta
            } else {
                coded - span
            }
        } else {
            self.last_pts.saturating_add(entry.pts_delta)
        };
        let msb = if flags & SIZE_MSB != 0 { r.v()? } else { 0 };
        if flags & MATCH_TIME != 0 {
            r.s()?;
        }
        let header_idx = if flags & HEADER_IDX != 0 { r.v()? } else { entry.header_idx };
        let reserved = if flags & RESERVED != 0 { r.v()? } else { entry.reserved };
        for _ in 0..reserved.min(256) {
            r.v()?;
        }
        if flags & CHECKSUM != 0 {
            r.take(4)?;
        }
        if flags & SIDE_DATA != 0 {
            return Err(Stop::Wrong("side data"));
        }
        // Elision serves coded formats whose frames begin alike; raw pixels do not use it.
        if self.elisions.get(header_idx as usize).is_none_or(|&len| len != 0) {
            return Err(Stop::Wrong("a frame with its first bytes left out"));
        }
        let size = msb.checked_mul(entry.size_mul).and_then(|n| n.checked_add(entry.size_lsb));
        let size = size.and_then(|n| usize::try_from(n).ok()).ok_or(Stop::Wrong("frame size"))?;
        self.last_pts = pts;
        let (num, den) = self.time_bases[self.time_base];
        let nanos = i128::from(pts) * i128::from(num) * 1_000_000_000;
        let time = clamp(nanos.div_euclid(i128::from(den)));
        Ok(Item::Frame { header: r.at, size, time })
    }
}

fn clamp(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

/// Why parsing stopped.
enum Stop {
    Short,
    Wrong(&'static str),
}

/// Reads NUT's kinds of numbers.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    fn peek(&self) -> Result<u8, Stop> {
        self.bytes.get(self.at).copied().ok_or(Stop::Short)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Stop> {
        let end = self.at.checked_add(len).ok_or(Stop::Short)?;
        let taken = self.bytes.get(self.at..end).ok_or(Stop::Short)?;
        self.at = end;
        Ok(taken)
    }

    fn u64(&mut self) -> Result<u64, Stop> {
        let bytes = self.take(8)?.try_into().map_err(|_| Stop::Short)?;
        Ok(u64::from_be_bytes(bytes))
    }

    /// Seven bits a byte, the highest first.
    fn v(&mut self) -> Result<u64, Stop> {
        let mut value = 0u64;
        for _ in 0..10 {
            let byte = self.take(1)?[0];
            value = value << 7 | u64::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Stop::Wrong("a number without end"))
    }

    /// Signed: 0, 1, -1, 2, -2, ...
    fn s(&mut self) -> Result<i64, Stop> {
        let coded = self.v()?.wrapping_add(1);
        let half = (coded >> 1) as i64;
        Ok(if coded & 1 != 0 { -half } else { half })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Collects (time, size) of the frames in `bytes`, given in pieces of `step` bytes.
    fn frames(bytes: &[u8], step: usize) -> Result<Vec<(i64, usize)>, NutError> {
        let (mut nut, mut found, mut at, mut end) = (Nut::new(), Vec::new(), 0, 0);
        loop {
            match nut.next(&bytes[at..end])? {
                Item::NeedMore if end == bytes.len() => return Ok(found),
                Item::NeedMore => end = (end + step).min(bytes.len()),
                Item::Header(n) => at += n,
                Item::Frame { header, size, time } => {
                    found.push((time, size));
                    at += header + size;
                    end = end.max(at).min(bytes.len());
                    if at >= bytes.len() {
                        return Ok(found);
                    }
                }
            }
        }
    }

    /// Written by ffmpeg 5.1 (tests/data/nut/make.sh): 4x2 grey, times 0, 1/10, 1/5, 1/2, 3 s.
    const SMALL: &[u8] = include_bytes!("../../../tests/data/nut/small.nut");

    #[test]
    fn frames_and_their_times_come_out_however_the_bytes_are_cut() {
        let want: Vec<_> =
            [0, 100_000_000, 200_000_000, 500_000_000, 3_000_000_000].map(|t| (t, 8)).into();
        for step in [1, 7, 64, 1 << 20] {
            assert_eq!(frames(SMALL, step).unwrap(), want, "in steps of {step}");
        }
    }

    #[test]
    fn what_is_no_nut_is_refused_and_a_short_one_waits() {
        assert!(frames(b"RIFF....AVI LIST........................", 64).is_err());
        assert_eq!(frames(&SMALL[..20], 64).unwrap(), []);
    }

    #[test]
    fn damaged_bytes_never_panic() {
        for at in 0..SMALL.len() {
            for value in [0, 0x4e, 0x7f, 0x80, 0xff] {
                let mut bytes = SMALL.to_vec();
                bytes[at] = value;
                let _ = frames(&bytes, 1 << 20);
            }
        }
    }
}
