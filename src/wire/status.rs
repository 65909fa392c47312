//! The status message: how the sender is.

use arrayvec::{ArrayString, ArrayVec};

use super::bytes::{Reader, Writer};
use super::{EncodeError, WireError};
use crate::fault::Severity;

const STATUS_LEN: usize = 64;
const FAULT_LEN: usize = 18;
const NAME_MAX: usize = 32;
const DETAIL_MAX: usize = 160;
/// The most faults that one status message carries.
pub const MAX_FAULTS: usize = 6;
const NO_TEMPERATURE: i16 = i16::MIN;
const NO_CAMERA: u8 = 255;

/// What the sender is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Loading models, opening cameras.
    #[default]
    Starting,
    /// All is as configured.
    Running,
    /// It works with less than it was configured for; the faults say why.
    Degraded,
    /// It gives no poses; the faults say why.
    Failed,
    /// It ends on request: this is the session's last message.
    Stopping,
}

impl State {
    const ALL: [Self; 5] =
        [Self::Starting, Self::Running, Self::Degraded, Self::Failed, Self::Stopping];

    /// Lower-case, for text and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
            Self::Stopping => "stopping",
        }
    }
}

/// Something that is wrong at the sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultRecord {
    /// What the sender does about it.
    pub severity: Severity,
    /// Which camera (0..=254), if it is a camera's.
    pub camera: Option<u8>,
    /// Since when, microseconds of the sender's monotonic clock.
    pub since_us: i64,
    /// How often it was seen since the start.
    pub count: u32,
    /// A stable name for programs, such as `camera-gone`.
    pub name: ArrayString<NAME_MAX>,
    /// Words for people, with the remedy.
    pub detail: ArrayString<DETAIL_MAX>,
}

/// How the sender is. Counters count since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusMessage {
    /// What it is doing.
    pub state: State,
    /// The sender promises a status at least this often, milliseconds; 0: no promise.
    pub interval_ms: u32,
    /// Seconds since its start.
    pub uptime_s: u32,
    /// Frames per second from the sources, in thousandths.
    pub fps_in_milli: u32,
    /// Pose frames per second, in thousandths.
    pub fps_out_milli: u32,
    /// Frames that sources gave.
    pub frames_in: u64,
    /// Pose frames made of them.
    pub frames_out: u64,
    /// Frames displaced by newer ones before anybody looked at them.
    pub frames_displaced: u64,
    /// Frames that the sources say they lost.
    pub frames_missed: u64,
    /// Frames lost to damage.
    pub frames_bad: u64,
    /// The hottest sensor, tenths of a degree Celsius, above `i16::MIN`.
    pub temperature_decicelsius: Option<i16>,
    /// What is wrong now.
    pub faults: ArrayVec<FaultRecord, MAX_FAULTS>,
}

impl FaultRecord {
    /// A record with its words cut to what the wire carries.
    pub fn new(severity: Severity, name: &str, detail: &str) -> Self {
        let (name, detail) = (cut(name), cut(detail));
        Self { severity, camera: None, since_us: 0, count: 1, name, detail }
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.u16((FAULT_LEN + self.name.len() + self.detail.len()) as u16);
        w.u8(match self.severity {
            Severity::Skip => 0,
            Severity::Restart => 1,
            Severity::Fatal => 2,
        });
        w.u8(self.camera.unwrap_or(NO_CAMERA));
        w.i64(self.since_us);
        w.u32(self.count);
        w.u8(self.name.len() as u8);
        w.u8(self.detail.len() as u8);
        w.put(self.name.as_bytes());
        w.put(self.detail.as_bytes());
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let severity = match r.u8()? {
            0 => Severity::Skip,
            1 => Severity::Restart,
            2 => Severity::Fatal,
            _ => return Err(WireError::BadValue { what: "fault severity" }),
        };
        let camera = Some(r.u8()?).filter(|&c| c != NO_CAMERA);
        let since_us = r.i64()?;
        let count = r.u32()?;
        let (name, detail) = (usize::from(r.u8()?), usize::from(r.u8()?));
        let (name, detail) = (text(r.take(name)?)?, text(r.take(detail)?)?);
        Ok(Self { severity, camera, since_us, count, name, detail })
    }
}

/// As much of `words` as fits, at a character's edge.
fn cut<const N: usize>(words: &str) -> ArrayString<N> {
    let mut kept = ArrayString::new();
    for c in words.chars() {
        if kept.try_push(c).is_err() {
            break;
        }
    }
    kept
}

fn text<const N: usize>(bytes: &[u8]) -> Result<ArrayString<N>, WireError> {
    let words = std::str::from_utf8(bytes).ok();
    words
        .and_then(|w| ArrayString::from(w).ok())
        .ok_or(WireError::BadValue { what: "text of a fault" })
}

impl StatusMessage {
    /// Refuses the values that stand for "none" on the wire.
    pub(super) fn check(&self) -> Result<(), EncodeError> {
        if self.temperature_decicelsius == Some(NO_TEMPERATURE) {
            return Err(EncodeError::BadValue { what: "temperature" });
        }
        if self.faults.iter().any(|f| f.camera == Some(NO_CAMERA)) {
            return Err(EncodeError::BadValue { what: "camera of a fault" });
        }
        Ok(())
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.u16(STATUS_LEN as u16);
        w.u8(self.state as u8);
        w.u8(self.faults.len() as u8);
        for v in [self.interval_ms, self.uptime_s, self.fps_in_milli, self.fps_out_milli] {
            w.u32(v);
        }
        for v in [
            self.frames_in,
            self.frames_out,
            self.frames_displaced,
            self.frames_missed,
            self.frames_bad,
        ] {
            w.u64(v);
        }
        w.put(&self.temperature_decicelsius.unwrap_or(NO_TEMPERATURE).to_le_bytes());
        w.u16(0);
        for fault in &self.faults {
            fault.write(w);
        }
    }

    pub(super) fn read(body: &mut Reader<'_>) -> Result<Self, WireError> {
        let mut r = body.block("status block")?;
        let state = State::ALL
            .get(usize::from(r.u8()?))
            .copied()
            .ok_or(WireError::BadValue { what: "state" })?;
        let faults_here = usize::from(r.u8()?);
        if faults_here > MAX_FAULTS {
            return Err(WireError::BadValue { what: "number of faults" });
        }
        let mut status = Self {
            state,
            interval_ms: r.u32()?,
            uptime_s: r.u32()?,
            fps_in_milli: r.u32()?,
            fps_out_milli: r.u32()?,
            frames_in: r.u64()?,
            frames_out: r.u64()?,
            frames_displaced: r.u64()?,
            frames_missed: r.u64()?,
            frames_bad: r.u64()?,
            temperature_decicelsius: Some(r.i16()?).filter(|&t| t != NO_TEMPERATURE),
            faults: ArrayVec::new(),
        };
        r.u16()?;
        for _ in 0..faults_here {
            status.faults.push(FaultRecord::read(&mut body.block("fault block")?)?);
        }
        Ok(status)
    }
}
