//! Datagrams kept in `tests/data/wire`, and the bytes of a line in `tests/data/line`, which every
//! other decoder of the format is tested with; and the worked example of `docs/wire.md`.
//!
//! `POSEWIRE_REGENERATE=1 cargo test golden` writes them anew; without it they are compared.

use std::fs;
use std::path::{Path, PathBuf};

use arrayvec::ArrayVec;

use super::samples::{datagrams, frame, header, reseal};
use super::*;
use crate::fault::Severity;
use crate::time::Timestamp;

/// What a sender of a later minor version might send: a longer header, longer blocks, more flags.
pub fn of_a_newer_minor_version(old: &[u8]) -> Vec<u8> {
    const ADDED: [u8; 4] = [0xEE; 4];
    let header_len = usize::from(old[7]);
    let mut new = old[..header_len].to_vec();
    new.extend(ADDED);
    new[5] = MINOR + 7;
    new[7] += ADDED.len() as u8;
    let mut rest = &old[header_len..old.len() - CRC_LEN];
    while let [a, b, ..] = *rest {
        let (block, behind) = rest.split_at(usize::from(u16::from_le_bytes([a, b])));
        let at = new.len();
        new.extend(block);
        new.extend(ADDED);
        new[at..at + 2].copy_from_slice(&((block.len() + ADDED.len()) as u16).to_le_bytes());
        // In both blocks flags come next; the highest is not in use.
        new[at + 3] |= 0x80;
        rest = behind;
    }
    new.extend([0; CRC_LEN]);
    let len = new.len() as u16;
    new[8..10].copy_from_slice(&len.to_le_bytes());
    reseal(&mut new);
    new
}

fn one(message: &Message) -> Vec<u8> {
    let mut buffer = [0; MAX_MESSAGE];
    let len = encode(&header(), message, &mut buffer).unwrap();
    buffer[..len].to_vec()
}

fn everything() -> Message {
    let options = PoseOptions {
        keypoints: true,
        degraded: true,
        engine: EngineId::from_name("tensorrt"),
        precision: PrecisionId::from_name("f16"),
    };
    let mut pose = PoseMessage::from_frame(&frame(2), &options);
    pose.media_time = true;
    pose.decoded_us = None;
    pose.persons[0].root_covariance = Some([0.25, 0.0, -0.125, 0.5, 0.0625, 1.0]);
    pose.persons[0].plausibility = Share::from_byte(200);
    pose.persons[0].revision = true;
    pose.persons[0].predicted = true;
    pose.persons[1].joints = None;
    pose.persons[1].root = None;
    pose.persons[1].withheld = true;
    Message::Pose(pose)
}

fn status() -> Message {
    let mut fault =
        FaultRecord::new(Severity::Restart, "camera-gone", "caméra 1 is gone: plug it in again");
    fault.camera = Some(1);
    fault.since_us = 900_000;
    fault.count = 3;
    let hot = FaultRecord::new(Severity::Skip, "hot", "the processor slows down");
    Message::Status(StatusMessage {
        state: State::Degraded,
        interval_ms: 1_000,
        uptime_s: 86_400,
        fps_in_milli: 29_970,
        fps_out_milli: 29_500,
        frames_in: 2_589_408,
        frames_out: 2_548_800,
        frames_displaced: 40_000,
        frames_missed: 600,
        frames_bad: 8,
        temperature_decicelsius: Some(-55),
        faults: ArrayVec::from_iter([fault, hot]),
    })
}

fn options() -> PoseOptions {
    PoseOptions {
        engine: EngineId::from_name("tract"),
        precision: PrecisionId::from_name("f32"),
        ..PoseOptions::default()
    }
}

fn cases() -> Vec<(String, Vec<u8>)> {
    let options = options();
    let person = datagrams(&frame(1), &options).remove(0);
    let mut not_finite = person.clone();
    not_finite[136..140].copy_from_slice(&f32::INFINITY.to_le_bytes());
    reseal(&mut not_finite);
    let mut damaged = person.clone();
    damaged[150] ^= 0x10;
    let mut next_major = person.clone();
    next_major[4] = MAJOR + 1;
    let mut unknown_type = person.clone();
    unknown_type[6] = 200;
    reseal(&mut unknown_type);
    let mut unknown_skeleton = person.clone();
    unknown_skeleton[45] = 77;
    reseal(&mut unknown_skeleton);
    let mut with_trailer = person.clone();
    with_trailer.extend([0x5A; 16]);
    let mut waiting = frame(1);
    waiting.persons[0].pose = None;
    waiting.captured = Timestamp::from_nanos(-1_500);
    let mut all = vec![
        ("nobody", datagrams(&frame(0), &options).remove(0)),
        ("person", person.clone()),
        ("person_without_pose", datagrams(&waiting, &options).remove(0)),
        ("everything", one(&everything())),
        ("status", one(&status())),
        ("newer_minor", of_a_newer_minor_version(&one(&everything()))),
        ("unknown_type", unknown_type),
        ("with_trailer", with_trailer),
        ("bad_crc", damaged),
        ("bad_truncated", person[..200].to_vec()),
        ("bad_major", next_major),
        ("bad_not_finite", not_finite),
        ("bad_skeleton", unknown_skeleton),
        ("bad_foreign", b"{\"pose\": []}".to_vec()),
    ]
    .into_iter()
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .collect::<Vec<_>>();
    all.extend(short_cases());
    let mut signed = person.clone();
    signed.resize(person.len() + auth::TRAILER, 0);
    golden_key().sign(&mut signed, person.len()).unwrap();
    all.push(("signed".to_owned(), signed));
    for (n, part) in datagrams(&frame(16), &options).into_iter().enumerate() {
        all.push((format!("sixteen_{n}"), part));
    }
    all
}

/// The key that `signed.bin` was signed with, as its file has it.
const GOLDEN_KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n";

fn golden_key() -> auth::Key {
    auth::Key::from_hex(GOLDEN_KEY).unwrap()
}

/// The compact messages of a frame, numbered from the header's packet number.
fn compact(frame: &crate::pose::PoseFrame) -> Vec<Vec<u8>> {
    let mut message = PoseMessage::from_frame(frame, &options());
    if let Some(person) = message.persons.first_mut() {
        person.root_covariance = Some([0.25, 0.0, -0.125, 0.5, 0.0625, 1.0]);
        person.plausibility = Share::from_byte(200);
    }
    let one = |n: usize| {
        let mut short = ShortHeader::from(&header());
        short.packet += n as u16;
        let mut buffer = [0; MAX_SHORT_MESSAGE];
        let pose = CompactPose::new(&message, n, header().sent_us);
        let len = encode_compact(short, &pose, &mut buffer).unwrap();
        buffer[..len].to_vec()
    };
    (0..CompactPose::count(&message)).map(one).collect()
}

fn short_cases() -> Vec<(String, Vec<u8>)> {
    let person = compact(&frame(1)).remove(0);
    let changed = |at: usize, value: u8| {
        let mut bytes = person.clone();
        bytes[at] = value;
        reseal(&mut bytes);
        bytes
    };
    let mut waiting = frame(1);
    waiting.persons[0].pose = None;
    let mut longer = person.clone();
    longer.splice(144..144, [0xEE; 4]);
    longer[2] += 4;
    reseal(&mut longer);
    let mut damaged = person.clone();
    damaged[50] ^= 0x10;
    let mut behind = person.clone();
    behind.extend([0x5A; 9]);
    let persons = compact(&frame(4));
    let cases = [
        ("compact", person.clone()),
        ("compact_fourth", persons[3].clone()),
        ("compact_nobody", compact(&frame(0)).remove(0)),
        ("compact_without_pose", compact(&waiting).remove(0)),
        ("compact_newer_minor", longer),
        ("compact_with_trailer", behind),
        ("compact_unknown_type", changed(1, 0x1C)),
        ("compact_bad_crc", damaged),
        ("compact_bad_truncated", person[..100].to_vec()),
        ("compact_bad_major", changed(1, 0x23)),
        ("compact_bad_skeleton", changed(7, 0x07)),
        ("compact_bad_index", changed(9, 1)),
    ];
    cases.map(|(name, bytes)| (name.to_owned(), bytes)).into()
}

/// What a decoder is to make of the bytes, as JSON.
fn meaning(bytes: &[u8]) -> String {
    match decode_packet(bytes) {
        Ok(Packet::Full(Datagram { header, message })) => {
            serde_json::to_string_pretty(&json::Line { header: &header, message: &message })
                .unwrap()
        }
        Ok(Packet::Short(short)) => serde_json::to_string_pretty(&json::ShortLine(&short)).unwrap(),
        Err(e) => error(e.name()),
    }
}

fn error(name: &str) -> String {
    format!("{{\"error\": \"{name}\"}}")
}

fn at_root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn regenerate() -> bool {
    std::env::var_os("POSEWIRE_REGENERATE").is_some()
}

/// Compares a file with `expected`, or writes it.
fn keep(path: &Path, expected: &[u8]) {
    if regenerate() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, expected).unwrap();
    }
    let kept = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert!(
        kept == expected,
        "{} is not what this version makes: a change of the wire format? If it is meant, \
         POSEWIRE_REGENERATE=1 cargo test golden, and a new version number",
        path.display()
    );
}

#[test]
fn golden_datagrams_are_made_and_read_as_ever() {
    let directory = at_root("tests/data/wire");
    let cases = cases();
    for (name, bytes) in &cases {
        keep(&directory.join(format!("{name}.bin")), bytes);
        keep(&directory.join(format!("{name}.json")), (meaning(bytes) + "\n").as_bytes());
    }
    let files = fs::read_dir(&directory).unwrap().count();
    assert_eq!(files, 2 * cases.len(), "files in {} that no case makes", directory.display());
}

/// A line as a reader finds it that joins in the middle, with what can happen on one.
fn line() -> Vec<u8> {
    let framed = |message: &[u8]| {
        let mut out = vec![0; cobs::framed_len(message.len())];
        let len = cobs::encode(message, &mut out).unwrap();
        out.truncate(len);
        out
    };
    let persons = compact(&frame(2));
    let (first, second) = (framed(&persons[0]), framed(&persons[1]));
    let mut flipped = first.clone();
    flipped[70] ^= 0x04;
    let mut stream = first[90..].to_vec();
    stream.extend(&first);
    stream.extend([0, 0]);
    stream.extend(framed(&one(&status())));
    // Cut off in the middle, and then what comes when the line works again.
    stream.extend(&second[..60]);
    stream.push(0);
    stream.extend(&second);
    stream.extend(&flipped);
    // A lost zero: two frames run into one another.
    stream.extend(&first[..first.len() - 1]);
    stream.extend(&second);
    // Noise of another baud rate, longer than any frame.
    stream.extend([0x55; 2_000]);
    stream.push(0);
    stream.extend(framed(&one(&everything())));
    stream.extend(framed(b"hello"));
    stream.extend(framed(&compact(&frame(0))[0]));
    stream
}

#[test]
fn golden_line_is_made_and_read_as_ever() {
    let stream = line();
    let directory = at_root("tests/data/line");
    keep(&directory.join("line.bin"), &stream);
    // However it is cut.
    for size in [1, 7, 64, 5_000] {
        let mut reader = cobs::FrameReader::new();
        let mut all = Vec::new();
        for mut piece in stream.chunks(size) {
            while let Some(found) = reader.next(&mut piece) {
                all.push(match found {
                    Ok(frame) => meaning(frame),
                    Err(e) => error(e.name()),
                });
            }
        }
        let text = format!("[\n{}\n]\n", all.join(",\n"));
        keep(&directory.join("line.json"), text.as_bytes());
    }
}

#[test]
fn golden_signature_is_verified() {
    keep(&at_root("tests/data/line/key.hex"), GOLDEN_KEY.as_bytes());
    let signed = fs::read(at_root("tests/data/wire/signed.bin")).unwrap();
    assert_eq!(golden_key().verify(&signed), Ok(()));
}

/// The example's fields: bytes, name, value.
fn fields() -> Vec<(usize, &'static str, &'static str)> {
    let mut fields = vec![
        (4, "magic", "\"PWIR\""),
        (1, "major", "1"),
        (1, "minor", "0"),
        (1, "type", "1: pose"),
        (1, "header length", "40"),
        (2, "message length", "361"),
        (1, "clock state", "2: NTP"),
        (1, "reserved", ""),
        (4, "packet", "1000"),
        (8, "session", "0123456789abcdef"),
        (8, "sent", "1 066 000 µs"),
        (8, "realtime offset", "1 700 000 000 000 000 µs"),
        (2, "frame block length", "60"),
        (2, "frame flags", "none"),
        (1, "camera", "2"),
        (1, "skeleton", "2: h36m17"),
        (1, "joints", "17"),
        (1, "2D skeleton", "1: coco17"),
        (1, "2D keypoints", "17"),
        (1, "part", "0"),
        (1, "parts", "1"),
        (1, "persons here", "1"),
        (1, "persons in frame", "1"),
        (1, "engine", "1: tract"),
        (1, "precision", "1: f32"),
        (1, "reserved", ""),
        (4, "model", "cafef00d"),
        (2, "image width", "1280"),
        (2, "image height", "720"),
        (8, "sequence", "345"),
        (8, "captured", "1 040 000 µs"),
        (8, "dequeued", "1 045 000 µs"),
        (4, "decoded", "3 500 µs later"),
        (4, "detected", "17 000 µs later"),
        (4, "lifted", "20 250 µs later"),
        (2, "person block length", "257"),
        (2, "person flags", "root, joints"),
        (4, "track", "1"),
        (8, "describes", "1 000 000 µs"),
        (4, "lookahead", "40 000 µs"),
        (1, "score", "191/254 = 0.752"),
        (1, "plausibility", "not known"),
        (2, "reserved", ""),
        (4, "root x", "0 m"),
        (4, "root y", "-0.125 m"),
        (4, "root z", "2.5 m"),
    ];
    let joints = crate::skeleton::Skeleton::Human36m17.joint_names();
    fields.extend(joints.iter().map(|&name| (12, name, "x, y, z")));
    fields.push((17, "confidences", "one byte a joint"));
    fields.push((4, "CRC-32C", "over everything before"));
    fields
}

#[test]
fn golden_example_of_the_specification_is_what_the_encoder_makes() {
    const BEGIN: &str = "<!-- example begins -->\n";
    const END: &str = "<!-- example ends -->";
    let bytes = datagrams(&frame(1), &options()).remove(0);
    let mut text = String::from("```text\n");
    let mut at = 0;
    for (len, name, value) in fields() {
        for (i, row) in bytes[at..at + len].chunks(12).enumerate() {
            let hex: Vec<_> = row.iter().map(|b| format!("{b:02x}")).collect();
            let (name, value) = if i == 0 { (name, value) } else { ("", "") };
            let line = format!("{:4}  {:<36}{name:<21}{value}", at + 12 * i, hex.join(" "));
            text.push_str(line.trim_end());
            text.push('\n');
        }
        at += len;
    }
    text.push_str("```\n");
    assert_eq!(at, bytes.len());

    let path = at_root("docs/wire.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    keep(&path, format!("{before}{BEGIN}{text}{END}{after}").as_bytes());
}
