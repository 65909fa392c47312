use super::*;
use crate::frame::Frame;
use crate::skeleton::h36m;

fn options(realtime: bool) -> SourceOptions {
    SourceOptions { camera: 3, realtime, ..SourceOptions::default() }
}

fn frame(source: &mut DemoSource) -> Frame {
    match source.next(Duration::from_secs(5)).unwrap() {
        Next::Frame(frame) => frame,
        Next::Idle => panic!("idle"),
        Next::End => panic!("end"),
    }
}

fn renderer() -> Renderer {
    Renderer::new(Figure::default(), camera())
}

fn drawn(renderer: &mut Renderer, sequence: u64) -> Vec<u8> {
    let mut picture = vec![0; renderer.byte_len()];
    let pose = Figure::default().at(moment(sequence, FRAME_RATE));
    renderer.draw(&pose, sequence, &mut picture);
    picture
}

#[test]
fn drawing_is_deterministic_and_leaves_no_trace_of_earlier_frames() {
    let mut used = renderer();
    let first = drawn(&mut used, 77);
    for i in [400, 500, 800] {
        assert_ne!(first, drawn(&mut used, i));
    }
    assert_eq!(first, drawn(&mut used, 77));
    assert_eq!(first, drawn(&mut renderer(), 77));
}

#[test]
fn the_silhouette_covers_the_projected_joints() {
    let mut r = renderer();
    let width = camera().width as usize;
    let empty = r.empty_room().to_vec();
    let figure = Figure::default();
    let (mut hits, mut all) = (0, 0);
    for i in (0..1_040).step_by(40) {
        let picture = drawn(&mut r, i);
        let pose = figure.at(moment(i, FRAME_RATE));
        for (j, p) in pose.joints.iter().enumerate() {
            let [x, y] = camera().project(*p).unwrap();
            let (x, y) = (x.round() as usize, y.round() as usize);
            // The pixel and its neighbours: skin may by chance look like the wall behind it.
            let differs = [(0, 0), (1, 0), (0, 1), (2, 1), (1, 2)].iter().any(|(dx, dy)| {
                let at = 2 * ((y + dy) * width + ((x + dx) & !1));
                (0..4).any(|c| picture[at + c].abs_diff(empty[at + c]) > 12)
            });
            hits += u32::from(differs);
            all += 1;
            if j == h36m::PELVIS || j == h36m::SPINE || j == h36m::THORAX {
                assert!(differs, "frame {i}: the trunk's joint {j} is bare wall");
            }
        }
    }
    assert!(f64::from(hits) > 0.985 * f64::from(all), "{hits} of {all}");
}

#[test]
fn the_room_beyond_the_figure_shows_noise_and_nothing_else() {
    let mut r = renderer();
    let empty = r.empty_room().to_vec();
    let picture = drawn(&mut r, 0);
    // At the start he stands on the left: the right third is the empty room.
    let (mut worst, mut sum, mut n) = (0, 0.0, 0.0);
    for y in 0..480 {
        for x in 880..1280 {
            let (a, b) = (picture[y * 1280 + x], empty[y * 1280 + x]);
            worst = worst.max(a.abs_diff(b));
            sum += f64::from(a.abs_diff(b)).powi(2);
            n += 1.0;
        }
    }
    let sigma = (sum / n).sqrt();
    assert!(worst <= 8 && (1.0..2.0).contains(&sigma), "worst {worst}, sigma {sigma}");
}

#[test]
fn frame_i_is_stamped_with_exactly_i_over_the_rate_in_media_time() {
    let mut source = DemoSource::open("demo:", &options(false)).unwrap();
    assert!(!source.describe().live);
    for i in 0..8 {
        let f = frame(&mut source);
        assert_eq!((f.sequence, f.camera, f.timebase), (i, 3, Timebase::Media));
        assert_eq!(f.captured, moment(i, 30.0));
        assert_eq!((f.layout.width, f.layout.height), (640, 480));
        assert_eq!(f.layout.format, PixelFormat::Yuyv);
        assert_eq!(f.plane(0), drawn(&mut renderer(), i), "what is shown is that moment");
    }
}

#[test]
fn a_limited_demo_ends_and_a_repeated_one_does_not() {
    let mut source = DemoSource::open("demo:0.1", &options(false)).unwrap();
    for _ in 0..3 {
        drop(frame(&mut source));
    }
    for _ in 0..2 {
        assert!(matches!(source.next(Duration::ZERO).unwrap(), Next::End));
    }
    let repeat = SourceOptions { repeat: true, ..options(false) };
    let mut source = DemoSource::open("demo:0.1", &repeat).unwrap();
    for i in 0..5 {
        assert_eq!(frame(&mut source).sequence, i);
    }
}

#[test]
fn a_source_whose_frames_are_all_held_waits_and_goes_on_when_one_is_dropped() {
    let mut source = DemoSource::open("demo:", &options(false)).unwrap();
    let mut held: Vec<Frame> = (0..FramePool::DEFAULT_COUNT).map(|_| frame(&mut source)).collect();
    assert!(matches!(source.next(Duration::from_millis(2)).unwrap(), Next::Idle));
    held.pop();
    assert_eq!(frame(&mut source).sequence, FramePool::DEFAULT_COUNT as u64, "none was skipped");
}

#[test]
fn in_real_time_frames_come_when_they_are_due_and_late_ones_are_lost() {
    let mut source = DemoSource::open("demo:", &options(true)).unwrap();
    assert!(source.describe().live);
    let first = frame(&mut source);
    assert_eq!((first.sequence, first.timebase), (0, Timebase::Monotonic));
    // Not yet due: no frame within a moment's wait.
    let second = loop {
        match source.next(Duration::from_millis(1)).unwrap() {
            Next::Frame(f) => break f,
            Next::Idle => {}
            Next::End => panic!("end"),
        }
    };
    assert!(second.sequence >= 1);
    assert!(second.dequeued >= second.captured, "nothing is seen before it happens");
    std::thread::sleep(Duration::from_millis(200));
    let late = frame(&mut source);
    assert!(late.sequence >= second.sequence + 5, "{} after {}", late.sequence, second.sequence);
    let since = late.captured.secs_since(first.captured);
    let wanted = (late.sequence - first.sequence) as f64 / 30.0;
    assert!((since - wanted).abs() < 1e-6, "stamps stay on the grid: {since} {wanted}");
}

#[test]
fn senseless_lengths_and_rates_are_refused_with_a_remedy() {
    for uri in ["demo:soon", "demo:-1", "demo:0", "demo:inf", "demo:NaN"] {
        let Err(e) = DemoSource::open(uri, &options(false)) else { panic!("{uri} opened") };
        assert!(e.to_string().contains("demo:SECONDS"), "{e}");
    }
    for rate in [0.0, -5.0, f64::NAN, 1e9] {
        let o = SourceOptions { rate: Some(rate), ..options(false) };
        assert!(DemoSource::open("demo:", &o).is_err(), "{rate}");
    }
    let o = SourceOptions { rate: Some(10.0), ..options(false) };
    let mut source = DemoSource::open("demo:", &o).unwrap();
    drop(frame(&mut source));
    assert_eq!(frame(&mut source).captured, Timestamp::from_secs_f64(0.1));
}

#[test]
fn the_uri_opens_with_and_without_its_colon() {
    for uri in ["demo", "demo:", "demo:1"] {
        let mut source = super::super::open(uri, &options(false)).unwrap();
        assert!(matches!(source.next(Duration::from_secs(5)).unwrap(), Next::Frame(_)), "{uri}");
    }
}
