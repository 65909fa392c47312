//! The recorder: what is seen and what is said, into files, without ever holding up anybody.
//!
//! `runtime` gives it a thread of its own and a queue of bounded size, whose pixels are copies: no
//! camera's buffer waits for a disk. [`Recorder::take`] makes the messages of one frame
//! ([`crate::recording`]); [`Disk`] writes them, changes files and keeps their number and size
//! within limits; [`Flight`] keeps the newest in memory and writes them when something happens.

mod disk;
mod flight;
mod jpeg;
mod settings;
mod timeline;

#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use crate::camera::Intrinsics;
use crate::frame::{FrameStamp, ImageLayout};
use crate::pose::PoseFrame;
use crate::recording::{About, Entry, FrameRecord, Picture, Subject, Topic, compose};
use crate::time::{Clock, Timestamp};
use crate::wire::json::Line;
use crate::wire::{
    ClockState, FaultRecord, Header, MAX_MESSAGE, Message, PoseMessage, PoseOptions, Split, State,
    StatusMessage, encode,
};

pub use disk::{Disk, Files, Out, Store};
pub use flight::{Flight, Trigger};
pub use jpeg::JpegMaker;
pub use settings::{FlightSettings, Frames, RecordError, RecordSettings};
use timeline::Timeline;

/// One frame on its way to the recorder: pixels that belong to nobody else, and its poses.
pub struct Taken {
    /// Number and times.
    pub stamp: FrameStamp,
    /// As the pixels came.
    pub layout: ImageLayout,
    /// What became of the pixels.
    pub picture: Picture,
    /// The pixels, packed ([`crate::recording::frame_record::pack`]).
    pub pixels: Vec<u8>,
    /// What was seen.
    pub poses: PoseFrame,
}

/// What the recorder knows of the camera's geometry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Lens {
    /// Measured, at some picture size.
    Calibrated(Intrinsics),
    /// Assumed, degrees along the longer side.
    Fov(f64),
}

/// Counts of one run, for its last words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Frames whose messages were written or kept.
    pub frames: u64,
    /// Of these, those whose picture was wanted and is missing.
    pub pictures_dropped: u64,
    /// Bytes on disk, closed files included.
    pub bytes: u64,
    /// Files.
    pub files: u64,
    /// Messages that could not be written while the disk was full or gone.
    pub lost: u64,
    /// Files of the flight recorder.
    pub dumps: u64,
}

/// Makes messages of frames and gives them to the disk and to the flight recorder.
pub struct Recorder {
    frames: Frames,
    queue_bytes: usize,
    disk: Option<Disk>,
    flight: Option<Flight>,
    jpeg: JpegMaker,
    lens: Lens,
    /// Of cameras that have another.
    lenses: Vec<(u8, Lens)>,
    options: PoseOptions,
    clock: Arc<dyn Clock>,
    clock_state: ClockState,
    timeline: Timeline,
    session: u64,
    packet: u32,
    statuses: u32,
    /// Of the newest picture: the calibration is written for it.
    image_sizes: Vec<(u8, (u32, u32))>,
    entries: Vec<Entry>,
    counts: Recorded,
    /// Names of the faults that were there at the last status.
    known_faults: Vec<String>,
}

impl Recorder {
    /// A recorder, or `None` if the settings ask for nothing. Opens the first file.
    ///
    /// # Errors
    /// If the settings are not usable or the first file cannot be made.
    pub fn open(
        settings: &RecordSettings,
        about: About,
        lens: Lens,
        options: PoseOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Option<Self>, RecordError> {
        Self::with_store(settings, about, lens, options, clock, || Box::new(Files))
    }

    /// The same, with another place for files.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn with_store(
        settings: &RecordSettings,
        about: About,
        lens: Lens,
        options: PoseOptions,
        clock: Arc<dyn Clock>,
        store: impl Fn() -> Box<dyn Store>,
    ) -> Result<Option<Self>, RecordError> {
        settings.check()?;
        let now = clock.now();
        let disk = settings
            .file
            .as_ref()
            .map(|path| Disk::open(path, settings, about.clone(), store(), now))
            .transpose()?;
        let flight = settings
            .flight
            .file
            .as_ref()
            .map(|path| Flight::open(path, &settings.flight, about, store()))
            .transpose()?;
        if disk.is_none() && flight.is_none() {
            return Ok(None);
        }
        Ok(Some(Self {
            frames: settings.frames,
            queue_bytes: settings.queue_bytes as usize,
            disk,
            flight,
            jpeg: JpegMaker::new(settings.jpeg_quality),
            lens,
            lenses: Vec::new(),
            options: PoseOptions { keypoints: true, ..options },
            session: RandomState::new().hash_one(now),
            clock,
            clock_state: ClockState::default(),
            timeline: Timeline::default(),
            packet: 0,
            statuses: 0,
            image_sizes: Vec::new(),
            entries: Vec::new(),
            counts: Recorded::default(),
            known_faults: Vec::new(),
        }))
    }

    /// Says how this machine's realtime clock is disciplined, for the headers of packets.
    pub fn clock_is(&mut self, state: ClockState) {
        self.clock_state = state;
    }

    /// Says the geometry of a camera, where there are several.
    pub fn lens_is(&mut self, camera: u8, lens: Lens) {
        self.lenses.push((camera, lens));
    }

    /// Where it writes to, for the log.
    pub fn describe(&self) -> String {
        let disk = self.disk.as_ref().map(Disk::describe);
        let flight = self.flight.as_ref().map(Flight::describe);
        disk.into_iter().chain(flight).collect::<Vec<_>>().join("; ")
    }

    /// True if frames' pixels are wanted.
    pub fn wants_pixels(&self) -> bool {
        self.frames != Frames::None
    }

    /// The most bytes of pixels that may wait for the recorder.
    pub fn queue_bytes(&self) -> usize {
        self.queue_bytes
    }

    /// Records one frame. Gives its buffer back.
    pub fn take(&mut self, taken: Taken) -> Vec<u8> {
        let Taken { stamp, layout, picture, pixels, poses } = taken;
        let time = self.timeline.unix(&stamp, self.clock.as_ref());
        let (camera, sequence) = (stamp.camera, stamp.sequence as u32);
        let entry = |subject, data| {
            let topic = Topic { subject, camera };
            Entry { topic, sequence, time, data }
        };
        self.entries.clear();
        self.counts.frames += 1;

        let mut record = FrameRecord::of(&stamp, &layout, picture);
        let mut message = None;
        if picture == Picture::Exact && !pixels.is_empty() {
            message = if layout.format.is_compressed() {
                let data = compose::compressed_image(camera, time, pixels.clone());
                Some((Subject::Image, data))
            } else if self.frames == Frames::Exact {
                let data = compose::raw_image(camera, time, &layout, pixels.clone());
                Some((Subject::RawImage, data))
            } else {
                record.picture = Picture::Encoded;
                let made = self.jpeg.encode(&layout, &pixels);
                made.map(|jpeg| (Subject::Image, compose::compressed_image(camera, time, jpeg)))
            };
            if message.is_none() {
                record.picture = Picture::Dropped;
            }
        }
        self.counts.pictures_dropped += u64::from(record.picture == Picture::Dropped);
        self.entries.push(entry(Subject::Frame, compose::frame_record(&record)));
        if let Some((subject, data)) = message {
            self.entries.push(entry(subject, data));
        }
        let size = (camera, poses.image_size);
        if !self.image_sizes.contains(&size) {
            self.image_sizes.retain(|(known, _)| *known != camera);
            self.image_sizes.push(size);
            let calibration = self.calibration(size, time);
            self.entries.push(calibration);
        }
        self.entries.push(entry(Subject::Keypoints, compose::keypoints(&poses, time)));
        self.entries.push(entry(Subject::Scene, compose::scene(&poses, time)));
        self.entries.push(entry(Subject::Transforms, compose::transforms(&poses, time)));

        let message = PoseMessage::from_frame(&poses, &self.options);
        let mut parts = Split::new(&message);
        let mut buffer = [0; MAX_MESSAGE];
        for _ in 0..parts.parts() {
            let header = self.header();
            if let Ok(Some(datagram)) = parts.next(&header, &mut buffer) {
                self.entries.push(entry(Subject::Packet, datagram.to_vec()));
            }
        }
        self.hand_on();
        if let Some(flight) = &mut self.flight {
            let took = poses.stamps.lifted.since(poses.begin());
            if flight.is_slow(took) {
                flight.trigger(&Trigger::Latency(took), self.clock.now());
            }
        }
        let mut pixels = pixels;
        pixels.clear();
        pixels
    }

    /// Records how the sender is, and the calibration again, so that whoever opens a file in the
    /// middle has both within a second.
    pub fn status(&mut self, status: &StatusMessage) {
        self.options.degraded = matches!(status.state, State::Degraded | State::Failed);
        let time = self.timeline.newest(self.clock.as_ref());
        self.entries.clear();
        let header = self.header();
        let message = Message::Status(status.clone());
        let mut buffer = [0; MAX_MESSAGE];
        let sequence = self.statuses;
        self.statuses = sequence.wrapping_add(1);
        let camera = self.image_sizes.first().map_or(0, |(camera, _)| *camera);
        if let Ok(length) = encode(&header, &message, &mut buffer) {
            let topic = Topic { subject: Subject::Packet, camera };
            let data = buffer[..length].to_vec();
            self.entries.push(Entry { topic, sequence, time, data });
        }
        if let Ok(data) = serde_json::to_vec(&Line { header: &header, message: &message }) {
            let topic = Topic { subject: Subject::Status, camera: 0 };
            self.entries.push(Entry { topic, sequence, time, data });
        }
        for i in 0..self.image_sizes.len() {
            let calibration = self.calibration(self.image_sizes[i], time);
            self.entries.push(calibration);
        }
        self.hand_on();

        let names: Vec<String> = status.faults.iter().map(|f| f.name.to_string()).collect();
        let new = names.iter().find(|name| !self.known_faults.contains(name)).cloned();
        self.known_faults = names;
        if let Some(name) = new {
            self.trigger(&Trigger::Fault(name));
        }
    }

    /// The header of the recorder's next datagram.
    fn header(&mut self) -> Header {
        let packet = self.packet;
        self.packet = packet.wrapping_add(1);
        Header {
            session: self.session,
            packet,
            sent_us: self.clock.now().micros(),
            realtime_offset_us: self.clock.realtime_offset_nanos().div_euclid(1_000),
            clock: self.clock_state,
        }
    }

    fn calibration(&self, (camera, (width, height)): (u8, (u32, u32)), time: u64) -> Entry {
        let own = self.lenses.iter().find(|(of, _)| *of == camera).map(|(_, lens)| lens);
        let lens = match own.unwrap_or(&self.lens) {
            Lens::Calibrated(intrinsics) => intrinsics.resized(width, height),
            Lens::Fov(degrees) => Intrinsics::from_fov(width, height, *degrees),
        };
        let topic = Topic { subject: Subject::Calibration, camera };
        Entry { topic, sequence: 0, time, data: compose::calibration(camera, time, &lens) }
    }

    fn hand_on(&mut self) {
        let now = self.clock.now();
        if let Some(disk) = &mut self.disk {
            for entry in &self.entries {
                disk.put(entry, now);
            }
        }
        if let Some(flight) = &mut self.flight {
            for entry in self.entries.drain(..) {
                flight.keep(entry);
            }
        }
    }

    /// To be called ten times a second or so: gives what was written to the disk in time.
    pub fn tick(&mut self) {
        let now = self.clock.now();
        if let Some(disk) = &mut self.disk {
            disk.tick(now);
        }
    }

    /// Something happened: the flight recorder writes what it has.
    pub fn trigger(&mut self, trigger: &Trigger) {
        let now = self.clock.now();
        match &mut self.flight {
            Some(flight) => flight.trigger(trigger, now),
            None if matches!(trigger, Trigger::Signal) => {
                log::warn!("SIGUSR1: no flight recorder is configured ([record.flight] file)");
            }
            None => {}
        }
    }

    /// What is wrong with it, if anything.
    pub fn fault(&self) -> Option<&FaultRecord> {
        self.disk.as_ref().and_then(Disk::fault)
    }

    /// Closes the files. Gives the counts of the whole run.
    pub fn finish(&mut self) -> Recorded {
        if let Some(disk) = &mut self.disk {
            disk.finish(self.clock.now());
            let (bytes, files, lost) = disk.counts();
            self.counts = Recorded { bytes, files, lost, ..self.counts };
        }
        if let Some(flight) = &self.flight {
            self.counts.dumps = flight.dumps();
        }
        self.counts
    }
}

/// Unix time of a monotonic stamp, nanoseconds, never negative.
fn unix(at: Timestamp, clock: &dyn Clock) -> u64 {
    at.nanos().saturating_add(clock.realtime_offset_nanos()).max(0) as u64
}
