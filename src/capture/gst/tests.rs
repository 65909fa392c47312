use super::*;
use crate::capture::v4l2::controls::Controls;
use crate::frame::ColorSpace;

const PLAIN: SourceOptions = SourceOptions {
    camera: 3,
    rate: None,
    realtime: false,
    repeat: false,
    controls: Controls::NONE,
};

/// True if there is no GStreamer here; says so.
fn skipped() -> bool {
    let found = std::process::Command::new("gst-inspect-1.0").arg("videotestsrc").output();
    let missing = !found.is_ok_and(|output| output.status.success());
    if missing {
        println!(
            "SKIPPED: gst-launch-1.0 and videotestsrc are not here (gstreamer1.0-tools, \
             gstreamer1.0-plugins-base)"
        );
    }
    missing
}

fn open(pipeline: &str) -> Result<Gst, CaptureError> {
    Gst::open(&format!("gst:{pipeline}"), pipeline, &PLAIN)
}

/// All frames up to the end, looked at by `look`.
fn all(source: &mut Gst, mut look: impl FnMut(&crate::frame::Frame)) -> usize {
    let mut count = 0;
    let begun = Instant::now();
    loop {
        match source.next(Duration::from_millis(500)).unwrap() {
            Next::Frame(frame) => {
                look(&frame);
                count += 1;
            }
            Next::End => return count,
            Next::Idle => assert!(begun.elapsed() < Duration::from_secs(60), "no end"),
        }
    }
}

#[test]
fn every_format_comes_with_its_pixels_also_at_odd_sizes() {
    if skipped() {
        return;
    }
    for (caps, pixels) in [
        ("I420", PixelFormat::I420),
        ("NV12", PixelFormat::Nv12),
        ("NV21", PixelFormat::Nv21),
        ("YUY2", PixelFormat::Yuyv),
        ("UYVY", PixelFormat::Uyvy),
        ("Y42B", PixelFormat::I422),
        ("Y444", PixelFormat::I444),
        ("GRAY8", PixelFormat::Gray8),
        ("RGB", PixelFormat::Rgb8),
        ("BGR", PixelFormat::Bgr8),
    ] {
        for (width, height) in [(64, 48), (63, 47)] {
            // White everywhere: wherever a plane is misplaced it shows.
            let pipeline = format!(
                "videotestsrc num-buffers=3 pattern=white ! \
                 video/x-raw,format={caps},width={width},height={height},framerate=25/1"
            );
            let mut source = open(&pipeline).unwrap_or_else(|e| panic!("{caps}: {e}"));
            assert_eq!(source.describe().size, Some((width, height)));
            assert_eq!(source.describe().rate, Some(25.0));
            let count = all(&mut source, |frame| {
                assert_eq!((frame.layout.width, frame.layout.height), (width, height));
                assert_eq!((frame.layout.format, frame.camera), (pixels, 3));
                let packed = pixels.packed_planes(width, height);
                // GStreamer writes no second pixel of a pair whose second pixel is outside.
                let paired = matches!(pixels, PixelFormat::Yuyv | PixelFormat::Uyvy);
                let unwritten = if paired && width % 2 == 1 { 2 } else { 0 };
                for (i, (row, rows)) in packed.into_iter().enumerate() {
                    let stride = frame.layout.planes[i].stride;
                    for y in 0..rows {
                        let bytes = &frame.plane(i)[y * stride..][..row - unwritten];
                        let white = |b: &u8| *b >= 234 || b.abs_diff(128) <= 1;
                        assert!(bytes.iter().all(white), "{caps} plane {i} row {y}: {bytes:?}");
                    }
                }
            });
            assert_eq!(count, 3, "{caps}");
        }
    }
}

#[test]
fn stamps_have_the_pipelines_regularity_on_the_monotonic_clock() {
    if skipped() {
        return;
    }
    let begun = MonotonicClock.now();
    let mut source = open(
        "videotestsrc is-live=true num-buffers=15 ! \
         video/x-raw,format=GRAY8,width=320,height=240,framerate=30/1",
    )
    .unwrap();
    let mut stamps = Vec::new();
    all(&mut source, |frame| {
        assert_eq!(frame.timebase, Timebase::Monotonic);
        assert!(frame.captured <= frame.dequeued && frame.captured >= begun);
        stamps.push((frame.sequence, frame.captured));
    });
    assert_eq!(stamps.len(), 15);
    for pair in stamps.windows(2) {
        assert_eq!(pair[1].0, pair[0].0 + 1);
        assert!(pair[1].1 > pair[0].1);
    }
    // From the last third on the least delay has settled on any machine.
    let late = &stamps[10..];
    let mean = late[4].1.secs_since(late[0].1) / 4.0;
    assert!((mean - 1.0 / 30.0).abs() < 0.02, "{mean} s a frame");
}

#[test]
fn a_pipeline_that_cannot_be_built_is_unusable_and_one_that_breaks_is_gone() {
    if skipped() {
        return;
    }
    let error = open("nosuchelement").err().unwrap();
    assert!(matches!(error, CaptureError::Unusable { .. }), "{error}");
    assert!(error.to_string().contains("no element \"nosuchelement\""), "{error}");
    let error = open("  ").err().unwrap();
    assert!(matches!(error, CaptureError::Unusable { .. }), "{error}");
    let error = open("filesrc location=/nonexistent ! video/x-raw").err().unwrap();
    assert!(matches!(error, CaptureError::Gone { .. }), "{error}");
    let error = open("videotestsrc ! video/x-raw,format=AYUV64,width=64,height=48").err().unwrap();
    assert!(error.to_string().contains("videoconvert"), "{error}");

    let mut source =
        open("videotestsrc is-live=true ! video/x-raw,format=GRAY8,width=64,height=48").unwrap();
    assert!(matches!(source.next(Duration::from_secs(10)), Ok(Next::Frame(_))));
    // As if it had crashed.
    source.child.kill_for_a_test();
    let begun = Instant::now();
    let error = loop {
        match source.next(Duration::from_millis(200)) {
            Ok(Next::End) => panic!("a crash is no end"),
            Ok(_) => assert!(begun.elapsed() < Duration::from_secs(20)),
            Err(e) => break e,
        }
    };
    assert!(matches!(error, CaptureError::Gone { .. }), "{error}");
}

#[test]
fn without_gstreamer_the_error_says_what_to_install() {
    let missing = Path::new("/nonexistent/gst-launch-1.0");
    let error = Gst::open_with("gst:x", "x", &PLAIN, missing).err().unwrap();
    assert!(matches!(error, CaptureError::Unusable { .. }));
    assert!(error.to_string().contains("gstreamer1.0-tools"), "{error}");
}

#[test]
fn a_dropped_source_leaves_no_child_behind() {
    if skipped() {
        return;
    }
    let mut source =
        open("videotestsrc is-live=true ! video/x-raw,format=GRAY8,width=64,height=48").unwrap();
    let process = source.child.id_for_a_test();
    let stat = format!("/proc/{process}/stat");
    assert!(Path::new(&stat).exists());
    drop(source);
    assert!(!Path::new(&stat).exists());
}

#[test]
fn the_words_of_gst_launch_are_understood() {
    // As 1.22 writes them.
    let line = "/GstPipeline:pipeline0/GstIdentity:posewire: last-message = chain   ******* \
        (posewire:sink) (118096 bytes, dts: none, pts: 1:02:03.033333333, duration: \
        0:00:00.033333333, offset: 1, offset_end:  2, flags: 00000000 , meta: none) 0x55";
    let presented = Some(3_723_033_333_333);
    assert_eq!(Said::parse(line), Some(Said::Buffer { size: 118_096, presented }));
    let none = line.replace("1:02:03.033333333", "none");
    assert_eq!(Said::parse(&none), Some(Said::Buffer { size: 118_096, presented: None }));
    let caps = "/GstPipeline:pipeline0/GstIdentity:posewire.GstPad:src: caps = video/x-raw, \
        format=(string)NV12, width=(int)1280, height=(int)720, framerate=(fraction)30000/1001, \
        colorimetry=(string)1:3:5:1";
    let Some(Said::Caps(caps)) = Said::parse(caps) else { panic!("no caps") };
    let format = Format::parse(&caps).unwrap();
    assert_eq!((format.width, format.height, format.pixels), (1280, 720, PixelFormat::Nv12));
    assert_eq!(format.color, ColorSpace { bt709: true, full_range: true });
    assert!((format.rate.unwrap() - 29.97).abs() < 0.001);
    for other in [
        "",
        "Setting pipeline to PLAYING ...",
        "/GstPipeline:pipeline0/GstIdentity:another: last-message = chain (1 bytes, pts: none)",
        "/GstPipeline:pipeline0/GstIdentity:posewire: last-message = event (posewire:sink)",
        "/GstPipeline:pipeline0/GstIdentity:posewire: last-message = chain (x bytes, pts: none)",
    ] {
        assert_eq!(Said::parse(other), None, "{other}");
    }
    for (caps, word) in [
        ("video/x-raw(memory:NVMM), format=(string)NV12, width=(int)8, height=(int)8", "nvvidconv"),
        ("video/x-h264, width=(int)8, height=(int)8", "decodebin"),
        ("video/x-raw, format=(string)v210, width=(int)8, height=(int)8", "videoconvert"),
        ("video/x-raw, format=(string)NV12, width=(int)0, height=(int)8", "width"),
        ("video/x-raw, format=(string)NV12, width=(int)99999, height=(int)8", "width"),
    ] {
        let error = Format::parse(caps).unwrap_err();
        assert!(error.contains(word), "{error}");
    }
}
