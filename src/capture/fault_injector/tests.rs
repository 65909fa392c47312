use super::*;
use crate::frame::{ColorSpace, PixelFormat, Timebase};
use crate::time::ManualClock;

/// Frames of 16 grey pixels, one every 10 ms, without end.
struct Steady {
    info: SourceInfo,
    pool: FramePool,
    at: u64,
}

impl FrameSource for Steady {
    fn describe(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, limit: Duration) -> Result<Next, CaptureError> {
        let Some(lease) = self.pool.take(limit) else { return Ok(Next::Idle) };
        let buffer = self.pool.buffer(&lease);
        buffer.clear();
        buffer.resize(16, 77);
        let layout = ImageLayout::packed(4, 4, PixelFormat::Gray8, ColorSpace::default());
        let stamp = FrameStamp {
            camera: 0,
            sequence: self.at,
            captured: Timestamp::from_nanos(self.at as i64 * 10_000_000),
            timebase: Timebase::Monotonic,
            dequeued: Timestamp::ZERO,
        };
        self.at += 1;
        Ok(Next::Frame(self.pool.share(lease, layout, stamp).unwrap()))
    }
}

fn steady() -> Box<dyn FrameSource> {
    let info = SourceInfo { summary: "steady".into(), size: None, rate: None, live: false };
    Box::new(Steady { info, pool: FramePool::new(8, 16), at: 0 })
}

fn injector(settings: &str) -> (FaultInjector, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::default());
    let uri = format!("faults:{settings}:steady");
    let settings = FaultSettings::parse(settings).unwrap();
    (FaultInjector::new(&uri, steady(), settings, clock.clone()), clock)
}

/// (number, stamp in ms, whole) of so many answers; -1 for an error.
fn run(source: &mut FaultInjector, answers: usize) -> Vec<(i64, f64, bool)> {
    (0..answers)
        .map(|_| match source.next(Duration::ZERO) {
            Ok(Next::Frame(f)) => {
                let whole = f.plane(0).iter().all(|b| *b == 77);
                (f.sequence as i64, f.captured.nanos() as f64 / 1e6, whole)
            }
            Ok(_) => (-2, 0.0, true),
            Err(CaptureError::BadFrame { .. }) => (-1, 0.0, true),
            Err(e) => panic!("{e}"),
        })
        .collect()
}

#[test]
fn without_settings_nothing_is_changed() {
    let (mut source, _) = injector("");
    for (i, (sequence, ms, whole)) in run(&mut source, 100).into_iter().enumerate() {
        assert_eq!((sequence, ms, whole), (i as i64, i as f64 * 10.0, true));
    }
    assert_eq!(source.injected(), Injected::default());
}

#[test]
fn the_same_seed_gives_the_same_faults_and_another_seed_others() {
    let settings = "drop=0.1,duplicate=0.1,corrupt=0.1,error=0.05,jitter_ms=2";
    let course = |seed: u64| run(&mut injector(&format!("{settings},seed={seed}")).0, 500);
    assert_eq!(course(7), course(7));
    assert_ne!(course(7), course(8));
}

#[test]
fn faults_come_as_often_as_they_are_asked_for() {
    let (mut source, _) = injector("drop=0.2,duplicate=0.1,corrupt=0.05,error=0.1");
    let answers = run(&mut source, 4000);
    let done = source.injected();
    let share = |n: u64| n as f64 / source.count as f64;
    assert!((share(done.dropped) - 0.2).abs() < 0.03, "{done:?}");
    // Of those that are not dropped.
    assert!((share(done.errors) - 0.08).abs() < 0.02, "{done:?}");
    assert!((share(done.duplicated) - 0.072).abs() < 0.02, "{done:?}");
    let damaged = answers.iter().filter(|a| !a.2).count();
    assert!(damaged as u64 >= done.corrupted, "{damaged} of {done:?}");
    let twice = answers.windows(2).filter(|p| p[0].0 >= 0 && p[0] == p[1]).count() as u64;
    assert!(twice.abs_diff(done.duplicated) <= 1, "{twice} of {done:?}");
    let errors = answers.iter().filter(|a| a.0 == -1).count() as u64;
    assert_eq!(errors, done.errors);
}

#[test]
fn jitter_moves_stamps_but_never_back() {
    let (mut source, _) = injector("jitter_ms=4");
    let answers = run(&mut source, 2000);
    assert!(answers.windows(2).all(|p| p[1].1 > p[0].1));
    let off: Vec<f64> = answers.iter().map(|a| a.1 - a.0 as f64 * 10.0).collect();
    let mean = off.iter().sum::<f64>() / off.len() as f64;
    let deviation = (off.iter().map(|o| (o - mean).powi(2)).sum::<f64>() / off.len() as f64).sqrt();
    assert!((3.0..5.0).contains(&deviation), "{deviation} ms");
}

#[test]
fn a_late_frame_comes_after_its_time_with_its_own_stamp() {
    let (mut source, clock) = injector("late=1,late_ms=50");
    assert!(matches!(source.next(Duration::ZERO), Ok(Next::Idle)));
    clock.set(Timestamp::from_nanos(49_000_000));
    assert!(matches!(source.next(Duration::ZERO), Ok(Next::Idle)));
    clock.set(Timestamp::from_nanos(50_000_000));
    let Ok(Next::Frame(frame)) = source.next(Duration::ZERO) else { panic!("no frame") };
    assert_eq!((frame.sequence, frame.captured), (0, Timestamp::ZERO));
    assert_eq!(frame.dequeued.nanos(), 50_000_000);
}

#[test]
fn a_freeze_is_silence_and_ends() {
    let (mut source, clock) = injector("freeze_every=3,freeze_s=2");
    let before = run(&mut source, 3);
    assert_eq!(before.iter().map(|a| a.0).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(matches!(source.next(Duration::ZERO), Ok(Next::Idle)));
    clock.set(Timestamp::from_nanos(1_999_999_999));
    assert!(matches!(source.next(Duration::ZERO), Ok(Next::Idle)));
    clock.set(Timestamp::from_nanos(2_000_000_000));
    assert_eq!(run(&mut source, 1)[0].0, 3);
    assert_eq!(source.injected().freezes, 1);
}

#[test]
fn an_unplugged_device_is_gone_for_its_time_and_then_there_again() {
    let (mut source, clock) = injector("unplug_every=5,unplug_s=2,seed=99");
    run(&mut source, 4);
    let error = source.next(Duration::ZERO).err().unwrap();
    assert!(matches!(error, CaptureError::Gone { .. }), "{error}");
    let uri = source.uri.clone();
    assert!(check_present(&uri, clock.as_ref()).is_err());
    assert!(check_present("faults::another", clock.as_ref()).is_ok());
    clock.set(Timestamp::from_nanos(2_000_000_000));
    assert!(check_present(&uri, clock.as_ref()).is_ok());
    assert!(check_present(&uri, clock.as_ref()).is_ok());
}

#[test]
fn settings_that_are_none_are_named() {
    for (text, word) in [
        ("drop", "SETTING=VALUE"),
        ("drop=2", "0 to 1"),
        ("drop=nan", "0 to 1"),
        ("late=-1", "0 to 1"),
        ("lose=0.1", "no fault \"lose\""),
        ("seed=x", "whole number"),
    ] {
        let error = FaultSettings::parse(text).unwrap_err();
        assert!(error.contains(word), "{error}");
    }
}
