use std::sync::atomic::{AtomicU8, Ordering};

use super::*;
use crate::engine::gate::Verdict;
use crate::engine::sampling::{Mixing, Sampling};
use crate::engine::{Catalog, ModelKind, Signature, TensorMut, TensorRef};

const RIGHT: u8 = 0;
const FAILS: u8 = 1;
const HANGS: u8 = 2;

/// Answers with its own number.
struct Numbered {
    number: f32,
    how: Arc<AtomicU8>,
    signature: Signature,
}

impl Engine for Numbered {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn run(
        &mut self,
        _: &[TensorRef<'_>],
        outputs: &mut [TensorMut<'_>],
    ) -> Result<(), EngineError> {
        let model = || "numbered".to_owned();
        match self.how.load(Ordering::SeqCst) {
            FAILS => return Err(EngineError::Run { model: model(), problem: "on purpose".into() }),
            HANGS => {
                return Err(EngineError::Hung { model: model(), backend: "later", seconds: 2.0 });
            }
            _ => {}
        }
        outputs[0].data.fill(self.number);
        Ok(())
    }

    /// Only the second ones do.
    fn run_sampled(
        &mut self,
        _: &Sampling<'_>,
        outputs: &mut [TensorMut<'_>],
    ) -> Result<bool, EngineError> {
        if self.number == 0.0 {
            return Ok(false);
        }
        self.run(&[], outputs).map(|()| true)
    }
}

/// A backend of such engines.
struct Numbers {
    number: f32,
    how: Arc<AtomicU8>,
}

impl Backend for Numbers {
    fn name(&self) -> &'static str {
        if self.number == 0.0 { "now" } else { "later" }
    }

    fn check(&self) -> Result<(), EngineError> {
        match self.how.load(Ordering::SeqCst) {
            u8::MAX => Err(EngineError::Unavailable { backend: "later", problem: "no".into() }),
            _ => Ok(()),
        }
    }

    fn load(
        &self,
        model: &ModelSpec,
        _: Precision,
        _: usize,
    ) -> Result<Box<dyn Engine>, EngineError> {
        assert!(!model.name.is_empty());
        let signature = Signature { inputs: Vec::new(), outputs: vec![("x".into(), vec![1])] };
        Ok(Box::new(Numbered { number: self.number, how: self.how.clone(), signature }))
    }
}

/// An exchange whose second engines answer 1, and do what is asked for. Numbers are compared.
fn exchange(allowed: f64) -> (Exchange, Arc<AtomicU8>) {
    let how = Arc::new(AtomicU8::new(RIGHT));
    let now = Box::leak(Box::new(Numbers { number: 0.0, how: Arc::default() }));
    let later = Box::new(Numbers { number: 1.0, how: how.clone() });
    let judge: Judge = Box::new(move |_, _, reference, candidate| {
        let apart = f64::from(answered(candidate)? - answered(reference)?);
        let budget = Budget { mean: allowed, worst: allowed };
        Ok(Verdict { cases: 1, mean: apart, worst: apart, budget, unit: "px" })
    });
    (Exchange::new(now, later, judge, Stop::new()), how)
}

fn answered(engine: &mut dyn Engine) -> Result<f32, EngineError> {
    let mut data = [f32::NAN];
    engine.run(&[], &mut [TensorMut { shape: &[1], data: &mut data }])?;
    Ok(data[0])
}

fn answer(engine: &mut dyn Engine) -> f32 {
    answered(engine).unwrap()
}

fn models() -> [ModelSpec; 2] {
    let catalog = Catalog::embedded().unwrap();
    [(ModelKind::Finder, "posewire-finder"), (ModelKind::Keypoints, "posewire-keypoints")]
        .map(|(kind, name)| catalog.pick(kind, Some(name)).unwrap())
}

/// Carries out what has been ordered.
fn work(exchange: &Exchange) {
    while let Ok(order) = exchange.0.orders.1.try_recv() {
        exchange.0.serve(&order);
    }
}

#[test]
fn the_second_engine_computes_from_the_next_frame_on_and_not_before() {
    let (exchange, _) = exchange(2.0);
    let [finder, keypoints] = models();
    let mut first = exchange.load(&finder, Precision::F16, 1).unwrap();
    let mut other = exchange.load(&keypoints, Precision::F16, 1).unwrap();
    assert!(!first.exchange());
    assert_eq!(exchange.describe(), "now f32 (later is built)");
    work(&exchange);
    assert_eq!(answer(first.as_mut()), 0.0, "the frame is not over");
    assert!(first.exchange() && !first.exchange());
    assert_eq!((answer(first.as_mut()), answer(other.as_mut())), (1.0, 0.0));
    assert_eq!(
        exchange.describe(),
        "later f16: posewire-finder; now f32 (later is built): posewire-keypoints"
    );
    let before = exchange.changes();
    assert!(other.exchange());
    assert_eq!(exchange.describe(), "later f16");
    assert!(exchange.changes() > before && exchange.troubles().is_empty());
}

#[test]
fn a_failed_call_is_computed_by_the_first_engine_and_the_others_go_on() {
    let (exchange, how) = exchange(2.0);
    let [finder, keypoints] = models();
    let mut engines = [finder, keypoints].map(|m| exchange.load(&m, Precision::F32, 1).unwrap());
    work(&exchange);
    engines.iter_mut().for_each(|e| assert!(e.exchange()));
    how.store(FAILS, Ordering::SeqCst);
    assert_eq!(answer(engines[0].as_mut()), 0.0);
    how.store(RIGHT, Ordering::SeqCst);
    engines.iter_mut().for_each(|e| assert!(!e.exchange()));
    assert_eq!(answer(engines[0].as_mut()), 0.0, "it is for good");
    assert_eq!(answer(engines[1].as_mut()), 1.0);
    let troubles = exchange.troubles();
    assert_eq!((troubles.len(), troubles[0].name, troubles[0].lost), (1, "gpu-failed", true));
    assert!(troubles[0].words.contains("on purpose"), "{troubles:?}");
    let [only, _] = engines;
    drop(only);
    assert!(exchange.troubles().is_empty(), "the next pipeline begins anew");
}

#[test]
fn a_picture_that_the_second_engine_fails_on_is_given_to_the_first_as_a_tensor() {
    let (exchange, how) = exchange(2.0);
    let [finder, _] = models();
    let mut engine = exchange.load(&finder, Precision::F32, 1).unwrap();
    let sampled = |engine: &mut Box<dyn Engine>| {
        let sampling = Sampling {
            width: 1,
            height: 1,
            channels: 1,
            columns: (0, 0),
            rows: (0, 0),
            mirrored: false,
            planes: &[],
            parts: &[],
            mixing: Mixing::default(),
        };
        let mut data = [f32::NAN];
        let done = engine.run_sampled(&sampling, &mut [TensorMut { shape: &[1], data: &mut data }]);
        (done.unwrap(), data[0])
    };
    assert!(!sampled(&mut engine).0, "the processor is given tensors");
    work(&exchange);
    assert!(engine.exchange());
    assert_eq!(sampled(&mut engine), (true, 1.0));
    how.store(FAILS, Ordering::SeqCst);
    assert!(!sampled(&mut engine).0);
    assert_eq!((exchange.troubles()[0].name, answer(engine.as_mut())), ("gpu-failed", 0.0));
    how.store(RIGHT, Ordering::SeqCst);
    assert!(!sampled(&mut engine).0, "it is for good");
}

#[test]
fn when_one_hangs_all_leave_and_nothing_more_is_built() {
    let (exchange, how) = exchange(2.0);
    let [finder, keypoints] = models();
    let mut engines = [&finder, &keypoints].map(|m| exchange.load(m, Precision::F32, 1).unwrap());
    let mut late = exchange.load(&finder, Precision::F32, 1).unwrap();
    work(&exchange);
    engines.iter_mut().for_each(|e| assert!(e.exchange()));
    how.store(HANGS, Ordering::SeqCst);
    assert_eq!(answer(engines[0].as_mut()), 0.0);
    how.store(RIGHT, Ordering::SeqCst);
    assert!(engines[1].exchange() && !late.exchange());
    assert_eq!((answer(engines[1].as_mut()), answer(late.as_mut())), (0.0, 0.0));
    drop((engines, late));
    let troubles = exchange.troubles();
    assert_eq!((troubles.len(), troubles[0].name), (1, "gpu-hung"), "whatever pipelines come");
}

#[test]
fn what_answers_otherwise_is_refused_and_what_is_not_here_is_not_missed() {
    let (exchange, _) = exchange(0.5);
    let [finder, _] = models();
    let mut engine = exchange.load(&finder, Precision::F16, 1).unwrap();
    work(&exchange);
    assert!(!engine.exchange());
    let troubles = exchange.troubles();
    assert_eq!((troubles[0].name, troubles[0].lost), ("gpu-refused", false));
    assert!(troubles[0].words.contains("posewire-finder"), "{troubles:?}");
    assert!(troubles[0].words.contains("later computes it wrongly"), "{troubles:?}");
    assert_eq!(exchange.describe(), "now f32");

    let (exchange, how) = self::exchange(2.0);
    how.store(u8::MAX, Ordering::SeqCst);
    let mut engine = exchange.load(&finder, Precision::F16, 1).unwrap();
    work(&exchange);
    assert!(!engine.exchange() && exchange.troubles().is_empty());
    assert_eq!(exchange.describe(), "now f32");
}

#[test]
fn a_backend_that_hangs_while_it_is_judged_is_left_by_those_that_it_computes() {
    let (exchange, how) = exchange(2.0);
    let [finder, keypoints] = models();
    let mut first = exchange.load(&finder, Precision::F32, 1).unwrap();
    work(&exchange);
    assert!(first.exchange());
    let mut second = exchange.load(&keypoints, Precision::F32, 1).unwrap();
    how.store(HANGS, Ordering::SeqCst);
    work(&exchange);
    how.store(RIGHT, Ordering::SeqCst);
    assert!(first.exchange() && !second.exchange());
    assert_eq!(answer(first.as_mut()), 0.0);
    let troubles = exchange.troubles();
    assert_eq!((troubles.len(), troubles[0].name), (1, "gpu-hung"));
}
