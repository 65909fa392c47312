//! Round trips, cut ends, damage, and files that are meant to harm.

use std::io::Cursor;

use proptest::prelude::*;

use super::frame_record::pack;
use super::*;
use crate::frame::{
    ColorSpace, Frame, FrameStamp, ImageLayout, PixelFormat, PixelMemory, PlaneLayout, Timebase,
};
use crate::time::Timestamp;

fn about() -> About {
    About {
        version: "1.2.3".into(),
        config: "[source]\nuri = \"demo:\"\n".into(),
        backend: "tract".into(),
        models: vec![ModelNote { kind: "lifter".into(), name: "x".into(), sha256: "00ff".into() }],
        stand_in: Some(7),
        host: "here".into(),
        reason: "record".into(),
        began: 1_700_000_000_000_000_000,
    }
}

fn file(entries: &[Entry], flush_every: usize) -> Vec<u8> {
    let mut writer = FileWriter::create(Cursor::new(Vec::new()), &about()).unwrap();
    for (i, entry) in entries.iter().enumerate() {
        writer.put(entry).unwrap();
        if i % flush_every == flush_every - 1 {
            writer.flush().unwrap();
        }
    }
    writer.finish().unwrap().into_inner()
}

struct Contents {
    about: Vec<About>,
    entries: Vec<Entry>,
    skipped: usize,
    cut: bool,
    error: Option<ReadError>,
}

fn read(bytes: &[u8]) -> Contents {
    let mut found =
        Contents { about: vec![], entries: vec![], skipped: 0, cut: false, error: None };
    let mut reader = Reader::new(bytes);
    loop {
        match reader.next() {
            Ok(Some(Item::About(about))) => found.about.push(about),
            Ok(Some(Item::Message(stored))) => found.entries.extend(stored.entry()),
            Ok(Some(Item::Skipped(_))) => found.skipped += 1,
            Ok(Some(Item::Cut)) => found.cut = true,
            Ok(Some(Item::Metadata(_))) => {}
            Ok(None) => return found,
            Err(error) => {
                found.error = Some(error);
                assert!(matches!(reader.next(), Ok(None)), "nothing follows an error");
                return found;
            }
        }
    }
}

fn some_entries(count: u32) -> Vec<Entry> {
    (0..count)
        .map(|i| Entry {
            topic: Topic {
                subject: Subject::ALL[i as usize % Subject::ALL.len()],
                camera: if i % 9 == 8 { 0 } else { (i % 3) as u8 },
            },
            sequence: i,
            time: 1_700_000_000_000_000_000 + u64::from(i) * 10_000_000,
            // Not all the same, so that damage is damage after decompression, too.
            data: (0..200 + i).map(|k| (k * k + i) as u8).collect(),
        })
        .collect()
}

#[test]
fn topics_have_names_that_lead_back_to_them() {
    for subject in Subject::ALL {
        for camera in [0, 1, 255] {
            let camera = if subject == Subject::Status { 0 } else { camera };
            let topic = Topic { subject, camera };
            assert_eq!(Topic::parse(&topic.to_string()), Some(topic));
        }
    }
    for other in ["/camera/256/frame", "/camera/0/other", "/camera/0/status", "camera/0/frame"] {
        assert_eq!(Topic::parse(other), None, "{other}");
    }
}

#[test]
fn a_file_cut_off_anywhere_gives_every_entry_of_its_whole_chunks() {
    let entries = some_entries(60);
    let whole = file(&entries, 10);
    let all = read(&whole);
    assert_eq!((all.entries.len(), all.cut, all.skipped), (60, false, 0));
    let mut last = 0;
    for length in (0..whole.len()).step_by(3) {
        let part = read(&whole[..length]);
        if length < 8 {
            assert!(matches!(part.error, Some(ReadError::NotMcap)), "{length} bytes");
            continue;
        }
        assert!(part.error.is_none(), "{length}: {:?}", part.error);
        let count = part.entries.len();
        assert_eq!(part.entries, entries[..count], "{length} bytes");
        assert_eq!(count % 10, 0, "whole chunks only");
        assert!(count >= last, "more bytes never give less");
        last = count;
    }
    assert_eq!(last, 60);
}

#[test]
fn a_recovered_file_is_whole_and_says_the_same() {
    let entries = some_entries(60);
    let whole = file(&entries, 10);
    // In the middle of the fifth chunk.
    let length = (0..whole.len()).find(|&l| read(&whole[..l]).entries.len() == 40).unwrap();
    let cut = &whole[..length + 50];
    let before = read(cut);
    assert!(before.cut && before.entries.len() == 40);
    let (found, to) = recover(cut, Cursor::new(Vec::new())).unwrap();
    let bytes = to.into_inner();
    let after = read(&bytes);
    assert!(found.cut && !after.cut);
    assert_eq!(after.entries, before.entries);
    assert_eq!(after.about, [about()]);
    assert_eq!(found.messages as usize, before.entries.len());
    // The library's own reader of whole files wants the summary and the footer.
    let summary = mcap::Summary::read(&bytes).unwrap().unwrap();
    assert_eq!(summary.stats.unwrap().message_count, found.messages);
}

#[test]
fn damage_costs_its_chunk_and_no_other() {
    let entries = some_entries(60);
    let whole = file(&entries, 10);
    let mut skipped = 0;
    for at in (200..whole.len()).step_by(37) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        let found = read(&bytes);
        // A wrong length in the middle ends it all; everything before it is there.
        skipped += usize::from(found.skipped > 0);
        for entry in &found.entries {
            let index = entry.sequence as usize;
            if let Some(was) = entries.get(index)
                && entry.topic == was.topic
                && entry.time == was.time
            {
                assert_eq!(entry.data, was.data, "byte {at}: damage went unnoticed");
            }
        }
    }
    assert!(skipped > 20, "{skipped} damaged chunks were noticed");
}

#[test]
fn a_chunk_that_says_to_be_huge_is_not_believed() {
    // Magic, an empty header record, then a chunk of 16 EiB, or one that would unpack to that.
    let mut start = mcap::MAGIC.to_vec();
    start.extend_from_slice(&[1, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let mut long = start.clone();
    long.push(6);
    long.extend_from_slice(&u64::MAX.to_le_bytes());
    let found = read(&long);
    assert!(matches!(found.error, Some(ReadError::Damaged { .. })), "{:?}", found.error);

    // A record of 4 TiB in a chunk of 40 bytes: as it is, and compressed (one raw block).
    let mut record = vec![5u8];
    record.extend_from_slice(&(1u64 << 42).to_le_bytes());
    record.resize(40, 7);
    let mut packed = vec![0x28, 0xb5, 0x2f, 0xfd, 0x20, 40, (40 << 3) as u8 | 1, 1, 0];
    packed.extend_from_slice(&record);
    for (compression, size, payload) in [
        (&b"zstd"[..], 1u64 << 60, &[0x28, 0xb5, 0x2f, 0xfd][..]),
        (b"", 1 << 60, &[5; 40]),
        (b"", 40, &record),
        (b"zstd", 40, &packed),
        (b"zstd", 1 << 27, &packed),
        (b"lz4", 40, &packed),
        (b"rot13", 40, &packed),
    ] {
        let mut chunk = vec![0; 16];
        chunk.extend_from_slice(&size.to_le_bytes());
        chunk.extend_from_slice(&0u32.to_le_bytes());
        chunk.extend_from_slice(&(compression.len() as u32).to_le_bytes());
        chunk.extend_from_slice(compression);
        chunk.extend_from_slice(&(payload.len() as u64).to_le_bytes());
        chunk.extend_from_slice(payload);
        let mut bytes = start.clone();
        bytes.push(6);
        bytes.extend_from_slice(&(chunk.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&chunk);
        let found = read(&bytes);
        assert_eq!(found.skipped, 1, "{:?}", found.error);
    }
}

#[test]
fn what_is_no_mcap_file_is_named_so() {
    for bytes in [&b""[..], b"x", b"RIFF....AVI LIST", &[0x89, b'P', b'N', b'G', 13, 10, 26, 10]] {
        assert!(matches!(read(bytes).error, Some(ReadError::NotMcap)), "{bytes:?}");
    }
}

fn frame_of(layout: ImageLayout, bytes: Vec<u8>) -> Frame {
    let memory: std::sync::Arc<dyn PixelMemory> = std::sync::Arc::new(bytes);
    let stamp = FrameStamp {
        camera: 3,
        sequence: 1 << 33,
        captured: Timestamp::from_nanos(-5),
        timebase: Timebase::Monotonic,
        dequeued: Timestamp::from_nanos(77),
    };
    Frame::new(stamp, layout, [memory].into_iter().collect(), None).unwrap()
}

#[test]
fn a_padded_picture_is_packed_and_read_back_pixel_for_pixel() {
    use PixelFormat::*;
    let bayer = |bits| Bayer { order: crate::frame::BayerOrder::Gbrg, bits };
    for format in
        [Gray8, Gray16, bayer(8), bayer(10), Rgb8, Bgr8, Yuyv, Uyvy, Nv12, Nv21, I420, I422, I444]
    {
        let color = ColorSpace { bt709: true, full_range: false };
        let mut layout = ImageLayout::packed(6, 4, format, color);
        let mut offset = 5;
        for plane in &mut layout.planes {
            let rows = plane.len / plane.stride;
            *plane = PlaneLayout {
                memory: 0,
                offset,
                stride: plane.stride + 3,
                len: (plane.stride + 3) * rows,
            };
            offset += plane.len;
        }
        let bytes: Vec<u8> = (0..offset).map(|i| i as u8).collect();
        let frame = frame_of(layout, bytes);
        let mut packed = Vec::new();
        pack(&frame, &mut packed);
        let stamp = frame_record::FrameRecord::of(
            &FrameStamp {
                camera: frame.camera,
                sequence: frame.sequence,
                captured: frame.captured,
                timebase: frame.timebase,
                dequeued: frame.dequeued,
            },
            &frame.layout,
            Picture::Exact,
        );
        let text = compose::frame_record(&stamp);
        let back: FrameRecord = serde_json::from_slice(&text).unwrap();
        assert_eq!(back, stamp);
        let layout = back.layout(packed.len()).unwrap();
        assert_eq!(layout.byte_len(), packed.len(), "{format:?}");
        let (a, b) = (frame.image(), layout.picture(&packed).unwrap());
        for (i, (row, rows)) in format.packed_planes(6, 4).into_iter().enumerate() {
            for y in 0..rows {
                let line = |v: &crate::frame::ImageView<'_>| {
                    let plane = v.planes[i];
                    plane.data[y * plane.stride..y * plane.stride + row].to_vec()
                };
                assert_eq!(line(&a), line(&b), "{format:?} plane {i} row {y}");
            }
        }
        assert_eq!(back.stamp().captured.nanos(), -5);
        assert_eq!(back.stamp().sequence, 1 << 33);
    }
}

#[test]
fn what_foxglove_shows_of_persons_is_finite_and_complete() {
    use super::foxglove::{FrameTransforms, ImageAnnotations, SceneUpdate};
    use prost::Message;
    let mut poses = crate::wire::samples::frame(3);
    // One whose place is not known, and one that is no pose.
    poses.persons[1].pose.as_mut().unwrap().root = None;
    poses.persons[2].pose.as_mut().unwrap().joints[4][1] = f32::NAN;
    let scene = SceneUpdate::decode(&compose::scene(&poses, 5_000_000_001)[..]).unwrap();
    assert_eq!(scene.entities.len(), 2);
    assert_eq!(scene.entities[0].spheres.len(), 17);
    assert_eq!(scene.entities[0].lines[0].points.len(), 32);
    assert_eq!(scene.entities[1].metadata[0].value, "unknown: drawn 3 m before the camera");
    let stamp = scene.entities[0].timestamp.unwrap();
    assert_eq!((stamp.seconds, stamp.nanos), (5, 1));
    let transforms = FrameTransforms::decode(&compose::transforms(&poses, 1)[..]).unwrap();
    assert_eq!(transforms.transforms.len(), 2 * 18);
    assert_eq!(transforms.transforms[0].parent_frame_id, "camera_2");
    let drawn = ImageAnnotations::decode(&compose::keypoints(&poses, 1)[..]).unwrap();
    assert_eq!(drawn.points.len(), 6);
    assert!(drawn.points.iter().flat_map(|p| &p.points).all(|p| p.x.is_finite()));
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let topic = (0..Subject::ALL.len(), any::<u8>()).prop_map(|(i, camera)| {
        let subject = Subject::ALL[i];
        Topic { subject, camera: if subject == Subject::Status { 0 } else { camera } }
    });
    (topic, any::<u32>(), any::<u64>(), proptest::collection::vec(any::<u8>(), 0..300))
        .prop_map(|(topic, sequence, time, data)| Entry { topic, sequence, time, data })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_entries_come_back_as_they_were(
        entries in proptest::collection::vec(any_entry(), 0..40),
        flush_every in 1usize..10,
    ) {
        let found = read(&file(&entries, flush_every));
        prop_assert_eq!(found.entries, entries);
        prop_assert_eq!(found.about, vec![about()]);
        prop_assert!(!found.cut && found.skipped == 0 && found.error.is_none());
    }

    #[test]
    fn any_bytes_behind_the_magic_are_read_to_an_end(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let mut file = mcap::MAGIC.to_vec();
        file.extend_from_slice(&bytes);
        read(&file);
        read(&bytes);
    }

    /// What the fuzz target does, in small: valid files with holes, doubles and wrong bytes.
    #[test]
    fn mangled_files_are_read_to_an_end(
        changes in proptest::collection::vec((any::<u16>(), any::<u8>(), 0u8..3), 1..8),
    ) {
        let mut bytes = file(&some_entries(12), 4);
        for (at, value, how) in changes {
            let at = usize::from(at) % bytes.len();
            match how {
                0 => bytes[at] = value,
                1 => bytes.insert(at, value),
                _ => { bytes.remove(at); }
            }
        }
        read(&bytes);
        let _ = recover(&bytes[..], Cursor::new(Vec::new()));
    }
}

/// Where fuzzing begins (`fuzz/corpus/replay`). `POSEWIRE_REGENERATE=1` writes them anew.
#[test]
fn the_fuzzers_seeds_are_recordings_that_are_read() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/replay");
    let options = crate::wire::PoseOptions { keypoints: true, ..Default::default() };
    let packet = crate::wire::samples::datagrams(&crate::wire::samples::frame(1), &options);
    let record = FrameRecord {
        camera: 0,
        sequence: 5,
        captured_ns: 1,
        media: true,
        dequeued_ns: 2,
        width: 4,
        height: 2,
        format: "mono8".into(),
        bt709: false,
        full_range: true,
        picture: Picture::Exact,
    };
    let topic = |subject| Topic { subject, camera: 0 };
    let entry = |subject, data| Entry { topic: topic(subject), sequence: 5, time: 9, data };
    let layout = record.layout(8).unwrap();
    let frame = entry(Subject::Frame, compose::frame_record(&record));
    let seeds = [
        ("packets", vec![frame.clone(), entry(Subject::Packet, packet[0].clone())]),
        (
            "raw",
            vec![frame, entry(Subject::RawImage, compose::raw_image(0, 9, &layout, vec![7; 8]))],
        ),
    ];
    for (name, entries) in seeds {
        let path = folder.join(name);
        let mut bytes = file(&entries, 1);
        // The fuzzer takes no more; cut files are what there is to be read.
        bytes.truncate(4096);
        if std::env::var_os("POSEWIRE_REGENERATE").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &bytes).unwrap();
        }
        assert_eq!(read(&std::fs::read(&path).unwrap()).entries, entries, "{}", path.display());
    }
}
