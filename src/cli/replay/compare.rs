//! How a replay's poses differ from those that were recorded.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::super::Failure;
use super::super::recover::{open, trouble};
use crate::fault::Chain;
use crate::recording::{Item, ReadError, Reader, Subject};
use crate::wire::{Assembler, Message, PersonRecord, PoseMessage, PoseOptions, decode};

/// Reads the recorded poses beside the replay, frame by frame.
pub(super) struct Comparison {
    path: PathBuf,
    reader: Reader<BufReader<File>>,
    parts: Assembler,
    /// Recorded, and not compared yet.
    next: Option<PoseMessage>,
    ended: bool,
    both: u64,
    identical: u64,
    only_recorded: u64,
    only_replayed: u64,
    persons: u64,
    only_then: u64,
    only_now: u64,
    renumbered: u64,
    joints: Distances,
    roots: Distances,
    pixels: Distances,
}

#[derive(Default)]
struct Distances {
    count: u64,
    sum: f64,
    most: f64,
}

impl Distances {
    fn add(&mut self, distance: f64) {
        self.count += 1;
        self.sum += distance;
        self.most = self.most.max(distance);
    }

    fn tell(&self, scale: f64, unit: &str) -> String {
        match self.count {
            0 => "none".to_owned(),
            n => format!(
                "mean {:.3} {unit}, max {:.3} {unit}",
                scale * self.sum / n as f64,
                scale * self.most
            ),
        }
    }
}

impl Comparison {
    pub fn open(path: &Path, _options: PoseOptions) -> Result<Self, Failure> {
        Ok(Self {
            path: path.to_owned(),
            reader: Reader::new(open(path)?),
            parts: Assembler::default(),
            next: None,
            ended: false,
            both: 0,
            identical: 0,
            only_recorded: 0,
            only_replayed: 0,
            persons: 0,
            only_then: 0,
            only_now: 0,
            renumbered: 0,
            joints: Distances::default(),
            roots: Distances::default(),
            pixels: Distances::default(),
        })
    }

    /// The next recorded frame of poses.
    fn recorded(&mut self) -> Result<Option<PoseMessage>, Failure> {
        while !self.ended {
            let item = match self.reader.next() {
                Ok(Some(item)) => item,
                Ok(None) | Err(ReadError::Damaged { .. }) => {
                    self.ended = true;
                    break;
                }
                Err(error) => return Err(trouble(&self.path, Chain(&error))),
            };
            let Item::Message(stored) = item else { continue };
            let Some(entry) = stored.entry().filter(|e| e.topic.subject == Subject::Packet) else {
                continue;
            };
            let Ok(datagram) = decode(&entry.data) else { continue };
            let Message::Pose(part) = datagram.message else { continue };
            if let Some(frame) = self.parts.add(&datagram.header, part) {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    /// Compares a replayed frame with the recorded one of the same number.
    pub fn add(&mut self, now: &PoseMessage) -> Result<(), Failure> {
        loop {
            if self.next.is_none() {
                self.next = self.recorded()?;
            }
            let Some(then) = self.next.take() else {
                self.only_replayed += 1;
                return Ok(());
            };
            if (then.camera, then.sequence) == (now.camera, now.sequence) {
                self.frame(&then, now);
                return Ok(());
            }
            if then.sequence > now.sequence {
                self.only_replayed += 1;
                self.next = Some(then);
                return Ok(());
            }
            self.only_recorded += 1;
        }
    }

    /// Counts what was recorded behind the last replayed frame.
    pub fn finish(&mut self) -> Result<(), Failure> {
        self.only_recorded += u64::from(self.next.take().is_some());
        while self.recorded()?.is_some() {
            self.only_recorded += 1;
        }
        Ok(())
    }

    fn frame(&mut self, then: &PoseMessage, now: &PoseMessage) {
        self.both += 1;
        self.identical += u64::from(then.persons == now.persons);
        let mut left: Vec<&PersonRecord> = then.persons.iter().collect();
        for person in &now.persons {
            // Whoever is nearest is the same: numbers depend on where a recording begins.
            let nearest = (0..left.len())
                .min_by(|&a, &b| distance(person, left[a]).total_cmp(&distance(person, left[b])));
            let Some(nearest) = nearest else {
                self.only_now += 1;
                continue;
            };
            let was = left.swap_remove(nearest);
            self.persons += 1;
            self.renumbered += u64::from(was.track != person.track);
            self.pair(was, person);
        }
        self.only_then += left.len() as u64;
    }

    fn pair(&mut self, then: &PersonRecord, now: &PersonRecord) {
        match (&then.joints, &now.joints) {
            (Some(a), Some(b)) => {
                a.xyz.iter().zip(&b.xyz).for_each(|(a, b)| self.joints.add(apart(a, b)));
            }
            (Some(_), None) => self.only_then += 1,
            (None, Some(_)) => self.only_now += 1,
            (None, None) => {}
        }
        if let (Some(a), Some(b)) = (&then.root, &now.root) {
            self.roots.add(apart(a, b));
        }
        if let (Some(a), Some(b)) = (&then.keypoints, &now.keypoints) {
            a.xy.iter().zip(&b.xy).for_each(|(a, b)| self.pixels.add(apart(a, b)));
        }
    }

    /// Prints the result.
    pub fn tell(&self) {
        println!(
            "compared with what was recorded: {} frames in both, {} identical bit for bit; {} \
             only recorded, {} only replayed",
            self.both, self.identical, self.only_recorded, self.only_replayed,
        );
        println!(
            "  {} persons in both ({} under another number), {} only recorded, {} only replayed",
            self.persons, self.renumbered, self.only_then, self.only_now,
        );
        println!(
            "  joints (root-relative): {}; roots: {}; keypoints: {}",
            self.joints.tell(1e3, "mm"),
            self.roots.tell(1e3, "mm"),
            self.pixels.tell(1.0, "px"),
        );
    }
}

fn apart<const N: usize>(a: &[f32; N], b: &[f32; N]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
}

/// How far two persons of one frame are from each other, in pixels of their keypoints.
fn distance(a: &PersonRecord, b: &PersonRecord) -> f64 {
    match (&a.keypoints, &b.keypoints) {
        (Some(a), Some(b)) => a.xy.iter().zip(&b.xy).map(|(a, b)| apart(a, b)).sum(),
        _ if a.track == b.track => 0.0,
        _ => f64::MAX,
    }
}
