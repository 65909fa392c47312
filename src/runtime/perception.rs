//! What the perception thread does: frames in, poses out, whoever they are for.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering;

use super::health::{Beat, Living};
use super::{PERCEPTION, Shared, TURN, record, view};
use crate::degrade::{DegradeSettings, Governor};
use crate::fault::{Chain, Exit, Fault, RateLimit, Severity, panic_words};
use crate::handoff::{Put, Taken};
use crate::pipeline::Pipeline;
use crate::stats::add;
use crate::time::Timestamp;

/// The perception thread. A first panic in it costs one frame: it goes on with new pipelines.
pub(super) fn perceive(
    shared: &Shared,
    mut pipelines: Vec<Pipeline>,
    mut intake: Option<record::Intake>,
    mut eye: Option<view::Eye>,
    degrade: DegradeSettings,
) {
    let living = Living(shared.health.stage(PERCEPTION, true));
    let mut governors: Vec<_> = pipelines.iter().map(|_| Governor::new(degrade)).collect();
    loop {
        let turns = || {
            let ways = (&mut intake, &mut eye);
            perceive_on(shared, &mut pipelines, ways, &mut governors, &living.0);
        };
        let Err(panic) = catch_unwind(AssertUnwindSafe(turns)) else { return };
        let Some(anew) = shared.renewing.after_panic() else { resume_unwind(panic) };
        log::error!(
            "perception panicked: {}; it goes on with new pipelines, a second panic within an \
             hour ends the process",
            panic_words(&*panic)
        );
        pipelines = anew;
    }
}

/// The newest frame through its camera's pipeline, its poses to every ring that wants them.
fn perceive_on(
    shared: &Shared,
    pipelines: &mut Vec<Pipeline>,
    (intake, eye): (&mut Option<record::Intake>, &mut Option<view::Eye>),
    governors: &mut [Governor],
    beat: &Beat,
) {
    let stats = &shared.stats;
    let mut limit = RateLimit::default();
    loop {
        beat.turn();
        if let Some(anew) = shared.renewing.take() {
            *pipelines = anew;
            for (pipeline, governor) in pipelines.iter_mut().zip(governors.iter()) {
                pipeline.set_search_stride(governor.effort().search_stride);
            }
        }
        let cameras = pipelines.len() as u32;
        let (camera, frame) = match shared.frames.take(TURN) {
            Taken::Value(taken) => taken,
            Taken::TimedOut => continue,
            Taken::Closed => return,
        };
        let (Some(pipeline), Some(governor), Some(source)) =
            (pipelines.get_mut(camera), governors.get_mut(camera), shared.cameras.get(camera))
        else {
            continue;
        };
        let live = source.live.load(Ordering::Relaxed);
        if live && governor.leaves_out(frame.sequence) {
            add(&stats.counters.frames_left_out, 1);
            continue;
        }
        let begun = shared.clock.now();
        stats.stages.wait.record(begun.since(frame.dequeued));
        let poses = match pipeline.step(&frame) {
            Ok(poses) => poses,
            Err(error) if error.severity() == Severity::Fatal => {
                return shared.fail(Chain(&error).to_string(), Exit::Config);
            }
            Err(error) => {
                add(&stats.counters.frames_bad, 1);
                warn_rarely(&mut limit, shared.clock.now(), &error);
                continue;
            }
        };
        if live {
            let busy = poses.stamps.lifted.since(begun);
            // All cameras wait for this one thread.
            shared.govern(governor, pipeline, camera, &frame, busy.saturating_mul(cameras));
        }
        // The buffer goes home before the poses go out, unless somebody wants a copy of it.
        let shown = eye.as_mut().is_some_and(|eye| eye.wants(&frame, poses.stamps.lifted));
        let frame = (shown || intake.is_some()).then_some(frame);
        let stamps = &poses.stamps;
        stats.stages.decode.record(stamps.decoded.since(begun));
        stats.stages.detect.record(stamps.detected.since(stamps.decoded));
        stats.stages.lift.record(stamps.lifted.since(stamps.detected));
        add(&stats.counters.frames_out, 1);
        add(&stats.counters.persons, poses.persons.len() as u64);
        let wanted = shared.wanted.iter().map(|source| source.is_none_or(|s| s == camera));
        for (ring, _) in shared.rings.iter().zip(wanted).filter(|(_, wanted)| *wanted) {
            if ring.push(poses.clone()) == Put::Displaced {
                add(&stats.counters.publish_displaced, 1);
            }
        }
        let Some(frame) = frame else { continue };
        if let (Some(eye), true) = (eye.as_ref(), shown) {
            eye.offer(&frame, &poses);
        }
        if let Some(intake) = intake.as_mut() {
            intake.offer(shared, camera, &frame, &poses);
        }
    }
}

pub(super) fn warn_rarely(limit: &mut RateLimit, now: Timestamp, error: &dyn std::error::Error) {
    match limit.pass(now) {
        Some(0) => log::warn!("{}", Chain(error)),
        Some(n) => log::warn!("{} ({n} more like it in between)", Chain(error)),
        None => {}
    }
}
