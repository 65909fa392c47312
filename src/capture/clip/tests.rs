//! Recordings made here, byte by byte, read through the public `open`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::capture::v4l2::controls::Controls;
use crate::capture::{open as open_source, open_with};
use crate::frame::{Frame, PixelFormat};

const JPEG: &[u8] = include_bytes!("../../../tests/data/jpeg/yuv420.jpg");
const BARE_JPEG: &[u8] = include_bytes!("../../../tests/data/jpeg/no_huffman_tables.jpg");
const LIMIT: Duration = Duration::from_secs(10);
const PLAIN: SourceOptions = SourceOptions {
    camera: 2,
    rate: None,
    realtime: false,
    repeat: false,
    controls: Controls::NONE,
};

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn root(&self) -> &str {
        self.0.path().to_str().unwrap()
    }
}

/// What a source gave, frame by frame.
#[derive(Debug, PartialEq)]
enum Seen {
    /// Sequence and captured, in microseconds.
    Frame(u64, i64),
    Bad(u64),
}

use Seen::{Bad, Frame as Good};

/// Reads to the end, giving every frame to `look`.
fn read_all(
    source: &mut dyn FrameSource,
    mut look: impl FnMut(&Frame),
) -> Result<Vec<Seen>, CaptureError> {
    let mut seen = Vec::new();
    loop {
        match source.next(LIMIT) {
            Ok(Next::Frame(frame)) => {
                assert_eq!((frame.camera, frame.timebase), (2, Timebase::Media));
                look(&frame);
                seen.push(Good(frame.sequence, frame.captured.micros()));
            }
            Ok(Next::Idle) => panic!("idle"),
            Ok(Next::End) => return Ok(seen),
            Err(CaptureError::BadFrame { sequence, .. }) => seen.push(Bad(sequence)),
            Err(error) => return Err(error),
        }
    }
}

fn seen(uri: &str, options: &SourceOptions) -> Vec<Seen> {
    read_all(&mut *open_source(uri, options).unwrap(), |_| {}).unwrap()
}

/// The error of opening and reading, which must be `Unusable`.
fn unusable(uri: &str) -> String {
    let result = open_source(uri, &PLAIN).and_then(|mut s| read_all(&mut *s, |_| {}));
    match result {
        Err(CaptureError::Unusable { uri: named, problem }) => {
            assert_eq!(named, uri);
            problem
        }
        Err(other) => panic!("{uri}: {other}"),
        Ok(seen) => panic!("{uri}: {seen:?}"),
    }
}

fn chunk(id: &[u8], body: &[u8]) -> Vec<u8> {
    let mut out = id.to_vec();
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(body);
    out.resize(out.len() + body.len() % 2, 0);
    out
}

fn list(name: &[u8], kind: &[u8], parts: &[Vec<u8>]) -> Vec<u8> {
    chunk(name, &[kind.to_vec(), parts.concat()].concat())
}

fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// An AVI whose video is stream 1, behind an audio stream, at `rate` / `scale` fps.
fn avi(coding: &[u8; 4], rate: u32, scale: u32, movie: &[Vec<u8>]) -> Vec<u8> {
    let audio = chunk(b"strh", &[b"auds\0\0\0\0".to_vec(), words(&[0; 12])].concat());
    let video = [b"vids".to_vec(), coding.to_vec(), words(&[0, 0, 0, scale, rate, 0, 0])].concat();
    let format = [words(&[40, 64, 48, 0x18_0001]), coding.to_vec(), words(&[0; 5])].concat();
    let header = list(
        b"LIST",
        b"hdrl",
        &[
            chunk(b"avih", &[0; 56]),
            list(b"LIST", b"strl", &[audio]),
            list(b"LIST", b"strl", &[chunk(b"strh", &video), chunk(b"strf", &format)]),
        ],
    );
    let junk = chunk(b"JUNK", &[7; 11]);
    list(b"RIFF", b"AVI ", &[header, junk, list(b"LIST", b"movi", movie)])
}

fn y4m(header: &str, frames: usize, bytes: usize) -> Vec<u8> {
    let mut out = format!("{header}\n").into_bytes();
    for i in 0..frames {
        out.extend_from_slice(b"FRAME Ip\n");
        out.extend(std::iter::repeat_n(i as u8, bytes));
    }
    out
}

#[test]
fn an_avi_gives_its_video_with_the_times_of_its_rate() {
    let files = Files::new();
    let sound = chunk(b"00wb", &[0xff; 9]);
    let picture = chunk(b"01dc", JPEG);
    let record = list(b"LIST", b"rec ", &[picture.clone(), sound.clone()]);
    // Third: an empty chunk, for "as before", takes a frame's time.
    let movie = [sound, picture, record, chunk(b"01dc", b""), chunk(b"01dc", BARE_JPEG)];
    let mut bytes = avi(b"MJPG", 30_000, 1001, &movie);
    // OpenDML: a second RIFF goes on.
    bytes.extend(list(b"RIFF", b"AVIX", &[list(b"LIST", b"movi", &[chunk(b"01dc", JPEG)])]));
    let uri = files.write("clip.avi", &bytes);
    let mut source = open_source(&uri, &PLAIN).unwrap();
    let info = source.describe();
    assert_eq!((info.size, info.live), (Some((64, 48)), false));
    assert!((info.rate.unwrap() - 29.97).abs() < 0.01);
    let mut sizes = Vec::new();
    let seen = read_all(&mut *source, |f| {
        assert_eq!(f.layout.format, PixelFormat::Jpeg);
        sizes.push(f.plane(0).len());
    });
    assert_eq!(seen.unwrap(), [Good(0, 0), Good(1, 33_366), Good(2, 100_100), Good(3, 133_466)]);
    assert_eq!(sizes, [JPEG.len(), JPEG.len(), BARE_JPEG.len(), JPEG.len()]);
}

#[test]
fn a_frame_of_an_avi_without_huffman_tables_can_be_decoded() {
    let files = Files::new();
    let uri = files.write("clip.avi", &avi(b"MJPG", 25, 1, &[chunk(b"01dc", BARE_JPEG)]));
    let mut decoder = crate::decode::JpegDecoder::new();
    let mut pictures = 0;
    read_all(&mut *open_source(&uri, &PLAIN).unwrap(), |frame| {
        let image = decoder.decode(&frame.image()).unwrap();
        assert_eq!((image.width, image.format), (64, PixelFormat::Rgb8));
        pictures += 1;
    })
    .unwrap();
    assert_eq!(pictures, 1);
}

#[test]
fn a_damaged_picture_in_the_middle_of_an_avi_costs_itself_only() {
    let files = Files::new();
    let good = chunk(b"01dc", JPEG);
    let movie = [good.clone(), chunk(b"01dc", b"no picture"), good.clone()];
    let uri = files.write("data.avi", &avi(b"MJPG", 10, 1, &movie));
    assert_eq!(seen(&uri, &PLAIN), [Good(0, 0), Bad(1), Good(2, 200_000)]);

    // A damaged chunk header: the next good one is found.
    let movie = [good.clone(), [vec![0xee; 40], good].concat()];
    let uri = files.write("header.avi", &avi(b"MJPG", 10, 1, &movie));
    assert_eq!(seen(&uri, &PLAIN), [Good(0, 0), Bad(1), Good(2, 100_000)]);
}

#[test]
fn an_avi_whose_writer_died_plays_up_to_where_it_ends() {
    let files = Files::new();
    let picture = chunk(b"01dc", JPEG);
    let bytes = avi(b"MJPG", 10, 1, &[picture.clone(), picture.clone(), picture]);
    let uri = files.write("cut.avi", &bytes[..bytes.len() - 300]);
    assert_eq!(seen(&uri, &PLAIN), [Good(0, 0), Good(1, 100_000), Bad(2)]);
}

#[test]
fn raw_motion_jpeg_is_split_at_its_markers() {
    let files = Files::new();
    // A thumbnail within a segment has markers of its own that must not end the picture.
    let mut with_thumbnail = JPEG[..2].to_vec();
    with_thumbnail.extend_from_slice(&[0xff, 0xe1]);
    with_thumbnail.extend_from_slice(&((BARE_JPEG.len() + 2) as u16).to_be_bytes());
    with_thumbnail.extend_from_slice(BARE_JPEG);
    with_thumbnail.extend_from_slice(&JPEG[2..]);
    let parts: [&[u8]; 6] = [b"junk", JPEG, &[0; 100], &with_thumbnail, BARE_JPEG, &JPEG[..400]];
    let uri = files.write("clip.mjpeg", &parts.concat());
    let mut source = open_source(&uri, &PLAIN).unwrap();
    assert!(source.describe().summary.contains("30 fps assumed"), "{}", source.describe().summary);
    assert_eq!(source.describe().size, Some((64, 48)));
    let mut lengths = Vec::new();
    let seen = read_all(&mut *source, |f| lengths.push(f.plane(0).len())).unwrap();
    assert_eq!(seen, [Good(0, 0), Good(1, 33_333), Good(2, 66_666), Bad(3)]);
    assert_eq!(lengths, [JPEG.len(), with_thumbnail.len(), BARE_JPEG.len()]);
}

#[test]
fn markers_across_the_borders_of_reads_are_found() {
    use std::io::BufReader;
    let input = [JPEG, BARE_JPEG, JPEG].concat();
    for capacity in 1..200 {
        let mut stream = mjpeg::JpegStream::new(BufReader::with_capacity(capacity, &input[..]));
        let mut out = Vec::new();
        for want in [JPEG, BARE_JPEG, JPEG] {
            assert_eq!(stream.next(&mut out).unwrap(), mjpeg::Found::Whole);
            assert!(out == want, "capacity {capacity}");
        }
        assert_eq!(stream.next(&mut out).unwrap(), mjpeg::Found::End);
    }
}

#[test]
fn a_picture_without_an_end_loses_itself_and_not_the_next() {
    let files = Files::new();
    // Cut within the coded bits; cut within a header's segment, it would swallow the next too.
    let uri = files.write("clip.mjpg", &[&JPEG[..JPEG.len() - 40], JPEG, JPEG].concat());
    assert_eq!(seen(&uri, &PLAIN), [Bad(0), Good(1, 33_333), Good(2, 66_666)]);
}

#[test]
fn y4m_planes_and_times_come_as_written() {
    let files = Files::new();
    for (tag, format, bytes) in [
        ("C420jpeg", PixelFormat::I420, 15 + 2 * 6),
        ("C422", PixelFormat::I422, 15 + 2 * 9),
        ("C444", PixelFormat::I444, 45),
        ("Cmono", PixelFormat::Gray8, 15),
    ] {
        let header = format!("YUV4MPEG2 W5 H3 F25:2 {tag}");
        let uri = files.write("clip.y4m", &y4m(&header, 3, bytes));
        let mut source = open_source(&uri, &PLAIN).unwrap();
        assert_eq!((source.describe().rate, source.describe().size), (Some(12.5), Some((5, 3))));
        let mut value = 0;
        let seen = read_all(&mut *source, |f| {
            assert_eq!(f.layout.format, format);
            let planes = f.image().planes;
            assert!(planes.iter().all(|p| p.data.iter().all(|&b| b == value)));
            assert_eq!(planes.iter().map(|p| p.data.len()).sum::<usize>(), bytes);
            value += 1;
        });
        assert_eq!(seen.unwrap(), [Good(0, 0), Good(1, 80_000), Good(2, 160_000)]);
    }
}

#[test]
fn a_y4m_that_is_cut_gives_its_whole_frames() {
    let files = Files::new();
    let bytes = y4m("YUV4MPEG2 W4 H4 F10:1 Cmono", 3, 16);
    let uri = files.write("cut.y4m", &bytes[..bytes.len() - 5]);
    assert_eq!(seen(&uri, &PLAIN), [Good(0, 0), Good(1, 100_000), Bad(2)]);
    let mut lost = y4m("YUV4MPEG2 W4 H4 F10:1 Cmono", 1, 16);
    lost.extend_from_slice(b"FRIME\n0123456789abcdef");
    let uri = files.write("lost.y4m", &lost);
    assert_eq!(seen(&uri, &PLAIN), [Good(0, 0), Bad(1)]);
}

#[test]
fn a_folder_of_pictures_is_read_in_natural_order_and_bad_ones_are_skipped() {
    let files = Files::new();
    let mut png_file = Vec::new();
    let mut encoder = png::Encoder::new(&mut png_file, 3, 2);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().unwrap().write_image_data(&[9; 18]).unwrap();
    files.write("f10.jpg", JPEG);
    files.write("f2.PNG", &png_file);
    files.write("f3.jpeg", b"not a picture");
    files.write("f4.png", &png_file[..40]);
    files.write("notes.txt", b"no picture and not meant as one");
    let mut formats = Vec::new();
    let mut source = open_source(files.root(), &PLAIN).unwrap();
    let seen = read_all(&mut *source, |f| formats.push((f.layout.format, f.layout.width)));
    assert_eq!(seen.unwrap(), [Good(0, 0), Bad(1), Bad(2), Good(3, 100_000)]);
    assert_eq!(formats, [(PixelFormat::Rgb8, 3), (PixelFormat::Jpeg, 64)]);
}

#[test]
fn an_asked_for_rate_replaces_the_recordings_own() {
    let files = Files::new();
    let uri = files.write("clip.y4m", &y4m("YUV4MPEG2 W4 H4 F10:1 Cmono", 4, 16));
    let options = SourceOptions { rate: Some(60.0), ..PLAIN };
    assert_eq!(
        seen(&uri, &options),
        [Good(0, 0), Good(1, 16_666), Good(2, 33_333), Good(3, 50_000)]
    );
}

#[test]
fn a_repeated_recording_goes_on_with_its_times_and_numbers() {
    let files = Files::new();
    let uri = files.write("clip.y4m", &y4m("YUV4MPEG2 W4 H4 F10:1 Cmono", 2, 16));
    let options = SourceOptions { repeat: true, ..PLAIN };
    let mut source = open_source(&uri, &options).unwrap();
    for i in 0..7 {
        let Ok(Next::Frame(frame)) = source.next(LIMIT) else { panic!("no frame {i}") };
        assert_eq!((frame.sequence, frame.captured.micros()), (i, 100_000 * i as i64));
        assert_eq!(frame.plane(0)[0], i as u8 % 2);
    }
}

#[test]
fn a_recording_in_real_time_is_stamped_by_the_monotonic_clock() {
    let files = Files::new();
    let uri = files.write("clip.y4m", &y4m("YUV4MPEG2 W4 H4 F20:1 Cmono", 3, 16));
    let options = SourceOptions { realtime: true, ..PLAIN };
    let mut source = open_source(&uri, &options).unwrap();
    assert!(source.describe().live);
    let mut stamps = Vec::new();
    loop {
        match source.next(LIMIT).unwrap() {
            Next::Frame(f) => {
                assert_eq!(f.timebase, Timebase::Monotonic);
                assert!(f.captured <= MonotonicClock.now());
                stamps.push(f.captured);
            }
            Next::Idle => {}
            Next::End => break,
        }
    }
    let steps: Vec<f64> = stamps.windows(2).map(|w| w[1].secs_since(w[0])).collect();
    assert_eq!(steps.len(), 2);
    assert!(steps.iter().all(|s| (s - 0.05).abs() < 1e-6), "{steps:?}");
}

#[test]
fn frames_that_nobody_gives_back_make_the_source_wait_and_not_allocate() {
    let files = Files::new();
    let uri = files.write("clip.y4m", &y4m("YUV4MPEG2 W4 H4 F10:1 Cmono", 20, 16));
    let mut source = open_source(&uri, &PLAIN).unwrap();
    let mut held = Vec::new();
    while let Next::Frame(frame) = source.next(Duration::from_millis(5)).unwrap() {
        held.push(frame);
    }
    assert_eq!(held.len(), FramePool::DEFAULT_COUNT);
    held.remove(0);
    let Ok(Next::Frame(next)) = source.next(LIMIT) else { panic!("no frame after one came home") };
    assert_eq!(next.sequence, held.len() as u64 + 1);
}

#[test]
fn what_cannot_be_read_is_one_clear_error() {
    let files = Files::new();
    let empty_folder = files.0.path().join("nothing");
    fs::create_dir(&empty_folder).unwrap();
    let audio = list(b"LIST", b"strl", &[chunk(b"strh", b"auds")]);
    let silent = [list(b"LIST", b"hdrl", &[audio]), list(b"LIST", b"movi", &[])];
    let bad_avi = avi(b"MJPG", 10, 1, &[chunk(b"01dc", b"no"), chunk(b"01dc", &JPEG[..100])]);
    for (uri, says) in [
        (format!("{}/absent.avi", files.root()), "no such file"),
        (files.write("empty.mp4", b""), "empty"),
        (files.write("empty.avi", b""), "empty"),
        (empty_folder.to_str().unwrap().to_owned(), "no .jpg, .jpeg or .png"),
        (files.write("garbage.avi", &[0x5a; 4000]), "does not begin as an AVI"),
        (files.write("garbage.mjpeg", &[0x5a; 4000]), "no JPEG picture"),
        (files.write("garbage.y4m", &[0x5a; 9000]), "does not begin with YUV4MPEG2"),
        (files.write("header.y4m", b"YUV4MPEG2 W4 H4"), "does not end"),
        (files.write("none.y4m", b"YUV4MPEG2 W4 H4 F1:1\n"), "no picture that can be read"),
        (files.write("wrong.y4m", b"YUV4MPEG2 W4 F1:1\n"), "no width (W) or height (H)"),
        (files.write("cut.mjpeg", &JPEG[..300]), "no picture that can be read: it ends"),
        (files.write("cut.avi", &avi(b"MJPG", 1, 1, &[])[..60]), "ends within its header"),
        (files.write("silent.avi", &list(b"RIFF", b"AVI ", &silent)), "no video stream"),
        (files.write("bad.avi", &bad_avi), "no picture that can be read"),
        (files.write("bad.png", b"\x89PNG\r\n\x1a\n"), "no picture that can be read"),
    ] {
        let problem = unusable(&uri);
        assert!(problem.contains(says), "{uri}: {problem}");
    }
}

#[test]
fn without_ffmpeg_the_error_says_what_to_install() {
    let files = Files::new();
    let absent = Tools { ffmpeg: "/nonexistent/ffmpeg".into(), ffprobe: "/nonexistent/p".into() };
    let xvid = avi(b"XVID", 10, 1, &[]);
    // Fields: the picture is said to be 48 rows high, and each JPEG has 23.
    const FIELD: &[u8] = include_bytes!("../../../tests/data/jpeg/odd.jpg");
    let fields = avi(b"MJPG", 10, 1, &[chunk(b"01dc", &[FIELD, FIELD].concat())]);
    for (uri, says) in [
        (files.write("clip.mp4", &[1; 100]), "apt-get install ffmpeg"),
        (files.write("clip.avi", &xvid), "AVI with \"XVID\" video: this kind"),
        (files.write("fields.avi", &fields), "AVI with interlaced Motion-JPEG: this kind"),
        (files.write("clip.y4m", b"YUV4MPEG2 W4 H4 C420p10\n"), "Y4M with C420p10: this kind"),
        ("rtsp://127.0.0.1:1/x".to_owned(), "apt-get install ffmpeg"),
    ] {
        let error = open_with(&uri, &PLAIN, &absent).map(|_| ()).unwrap_err();
        assert!(matches!(error, CaptureError::Unusable { .. }), "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
}

/// The tools, if ffmpeg is on this machine.
fn ffmpeg() -> Option<Tools> {
    let there = Command::new("ffmpeg").arg("-version").output().is_ok();
    if !there {
        println!("skipped: ffmpeg is not on PATH");
    }
    there.then(Tools::default)
}

fn make(path: &Path, args: &[&str]) {
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-f", "lavfi", "-i"])
        .args(args)
        .arg(path)
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn ffmpeg_gives_the_containers_own_times_of_a_variable_rate() {
    let Some(_) = ffmpeg() else { return };
    let files = Files::new();
    let path = files.0.path().join("variable: rate.mkv");
    let times = "setpts='if(lt(N,3),N/10,if(lt(N,5),N/5,N*N/10))/TB'";
    let source = "testsrc=size=64x48:rate=10";
    make(&path, &[source, "-frames:v", "7", "-vf", times, "-fps_mode", "passthrough"]);
    let uri = path.to_str().unwrap();
    let probed = Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", "frame=pts_time", "-of", "csv=p=0"])
        .arg(&path)
        .output();
    let text = String::from_utf8(probed.unwrap().stdout).unwrap();
    let times: Vec<f64> =
        text.lines().filter_map(|line| line.trim_end_matches(',').parse().ok()).collect();
    assert_eq!(times.len(), 7);
    assert!(times[6] > 3.5 && times[1] < 0.11, "no variable rate: {times:?}");
    let want: Vec<Seen> =
        times.iter().enumerate().map(|(i, s)| Good(i as u64, (s * 1e6) as i64)).collect();
    assert_eq!(seen(uri, &PLAIN), want);
    let forced = SourceOptions { rate: Some(10.0), ..PLAIN };
    assert_eq!(seen(uri, &forced)[6], Good(6, 600_000));
}

#[test]
fn a_video_that_was_filmed_on_its_side_stands_upright() {
    let Some(_) = ffmpeg() else { return };
    let files = Files::new();
    let (plain, turned) = (files.0.path().join("a.mp4"), files.0.path().join("b.mp4"));
    make(&plain, &["color=red:size=64x48:rate=5", "-frames:v", "2", "-pix_fmt", "yuv420p"]);
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-i"])
        .arg(&plain)
        .args(["-c", "copy", "-metadata:s:v:0", "rotate=90"])
        .arg(&turned)
        .status();
    assert!(status.unwrap().success());
    let source = open_source(turned.to_str().unwrap(), &PLAIN).unwrap();
    if source.describe().size == Some((64, 48)) {
        println!("skipped: this ffmpeg writes no rotation from metadata");
        return;
    }
    assert_eq!(source.describe().size, Some((48, 64)));
}

#[test]
fn colours_come_out_of_ffmpeg_in_limited_range() {
    let Some(_) = ffmpeg() else { return };
    let files = Files::new();
    let path = files.0.path().join("full.mkv");
    make(
        &path,
        &[
            "color=white:size=32x32:rate=5",
            "-frames:v",
            "1",
            "-c:v",
            "mjpeg",
            "-pix_fmt",
            "yuvj420p",
        ],
    );
    let mut source = open_source(path.to_str().unwrap(), &PLAIN).unwrap();
    let mut luma = 0;
    read_all(&mut *source, |f| {
        assert_eq!(f.layout.format, PixelFormat::I420);
        assert!(!f.layout.color.full_range);
        luma = f.plane(0)[500];
    })
    .unwrap();
    assert!(luma.abs_diff(235) <= 2, "{luma}");
}

#[test]
fn what_ffmpeg_cannot_read_is_refused_in_its_words() {
    let Some(_) = ffmpeg() else { return };
    let files = Files::new();
    let sound = files.0.path().join("sound.wav");
    make(&sound, &["sine=frequency=440:duration=0.2"]);
    let problem = unusable(sound.to_str().unwrap());
    assert!(problem.contains("no video in it"), "{problem}");
    let problem = unusable(&files.write("garbage.mp4", &[0x5a; 5000]));
    assert!(problem.contains("Invalid data"), "{problem}");
}

#[test]
fn an_ffmpeg_that_dies_is_an_error_with_its_last_words() {
    use std::os::unix::fs::PermissionsExt;
    let Some(_) = ffmpeg() else { return };
    let files = Files::new();
    let fake = files.write(
        "ffmpeg",
        b"#!/bin/sh\nffmpeg \"$@\" | head -c 30000\necho first >&2\necho 'out of luck' >&2\nexit 3\n",
    );
    fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
    let clip = files.0.path().join("clip.mkv");
    make(&clip, &["testsrc=size=64x48:rate=10", "-frames:v", "20"]);
    let tools = Tools { ffmpeg: fake.into(), ffprobe: "ffprobe".into() };
    let mut source = open_with(clip.to_str().unwrap(), &PLAIN, &tools).unwrap();
    let mut frames = 0;
    let error = read_all(&mut *source, |_| frames += 1).unwrap_err();
    assert!(matches!(error, CaptureError::Unusable { .. }), "{error}");
    assert!(error.to_string().contains("out of luck"), "{error}");
    assert_eq!(frames, 6);
    assert!(matches!(source.next(LIMIT), Ok(Next::End)));
}

#[test]
fn a_chatty_ffmpeg_does_not_block_and_a_silent_one_is_waited_for_no_longer_than_asked() {
    use std::os::unix::fs::PermissionsExt;
    let Some(_) = ffmpeg() else { return };
    let files = Files::new();
    // More than any pipe holds on stderr first; then, after its output, no end.
    let script =
        b"#!/bin/sh\nhead -c 3000000 /dev/zero | tr '\\0' x >&2\nffmpeg \"$@\"\nexec sleep 1000\n";
    let fake = files.write("ffmpeg", script);
    fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
    let clip = files.0.path().join("clip.mkv");
    make(&clip, &["testsrc=size=64x48:rate=10", "-frames:v", "2"]);
    let tools = Tools { ffmpeg: fake.into(), ffprobe: "ffprobe".into() };
    let mut source = open_with(clip.to_str().unwrap(), &PLAIN, &tools).unwrap();
    for _ in 0..2 {
        assert!(matches!(source.next(LIMIT), Ok(Next::Frame(_))));
    }
    let before = Instant::now();
    assert!(matches!(source.next(Duration::from_millis(100)), Ok(Next::Idle)));
    assert!((0.09..2.0).contains(&before.elapsed().as_secs_f64()));
    // Dropping it must not wait for the child's thousand seconds.
    drop(source);
    assert!(before.elapsed() < Duration::from_secs(5));
}

#[test]
fn repeating_a_recording_starts_ffmpeg_again_with_times_that_go_on() {
    let Some(_) = ffmpeg() else { return };
    let files = Files::new();
    let clip = files.0.path().join("clip.mkv");
    make(&clip, &["testsrc=size=64x48:rate=10", "-frames:v", "3"]);
    let options = SourceOptions { repeat: true, ..PLAIN };
    let mut source = open_source(clip.to_str().unwrap(), &options).unwrap();
    for i in 0..8 {
        let Ok(Next::Frame(frame)) = source.next(LIMIT) else { panic!("no frame {i}") };
        assert_eq!((frame.sequence, frame.captured.micros()), (i, 100_000 * i as i64));
    }
}

#[test]
fn recordings_of_real_people_give_every_frame_at_its_time() {
    let root = std::env::var_os("POSEWIRE_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    let clips = [
        ("clips/pose_squats.mp4", 65, (720, 1280), 5.0),
        ("clips/sports2d_demo.mp4", 230, (1768, 994), 30.0),
        ("clips/pose2sim/pose2sim_single_cam01.mp4", 100, (1080, 1920), 60.0),
    ];
    if !root.join("clips").is_dir() || ffmpeg().is_none() {
        println!("skipped: needs {} and ffmpeg", root.join("clips").display());
        return;
    }
    for (name, frames, size, rate) in clips {
        let path = root.join(name);
        let mut source = open_source(path.to_str().unwrap(), &PLAIN).unwrap();
        assert_eq!((source.describe().size, source.describe().rate), (Some(size), Some(rate)));
        let seen = read_all(&mut *source, |f| {
            assert_eq!((f.layout.width, f.layout.height), size);
        });
        let want: Vec<Seen> =
            (0..frames).map(|i| Good(i, (i as f64 * 1e6 / rate) as i64)).collect();
        assert_eq!(seen.unwrap(), want, "{name}");
    }
}
