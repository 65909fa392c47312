use super::*;
use crate::engine::tract::Tract;
use crate::engine::{Catalog, ModelKind, Signature};

static TRACT: Tract = Tract;

fn model(kind: ModelKind) -> ModelSpec {
    Catalog::embedded().unwrap().pick(kind, None).unwrap()
}

fn verdict(mean: f64) -> Verdict {
    let budget = Budget { mean: 1.0, worst: 1.0 };
    Verdict { cases: 1, mean, worst: mean, budget, unit: "px" }
}

/// Chooses among networks that are their precision, with stated distances and microseconds.
fn chosen(of: [(f64, u64); 3]) -> Result<Precision, String> {
    let at = |p: Precision| of[RUNGS.iter().position(|rung| *rung == p).unwrap()];
    let load = |p: Precision| Ok((p, verdict(at(p).0)));
    let time = |p: &mut Precision| Ok(Duration::from_micros(at(*p).1));
    let chosen = choose(&model(ModelKind::Finder), &RUNGS, load, time);
    chosen.map(|(precision, _)| precision).map_err(|e| e.to_string())
}

#[test]
fn the_fastest_of_those_that_are_right_is_taken() {
    assert_eq!(chosen([(0.0, 300), (0.4, 200), (0.9, 100)]), Ok(Precision::I8));
    assert_eq!(chosen([(0.0, 300), (0.4, 200), (0.9, 250)]), Ok(Precision::F16));
    assert_eq!(chosen([(0.0, 300), (f64::NAN, 200), (1.1, 100)]), Ok(Precision::F32));
    let none = chosen([(2.0, 300), (3.0, 200), (4.0, 100)]).unwrap_err();
    assert!(none.contains("in f32") && none.contains("2.000 px"), "{none}");
}

#[test]
fn a_precision_that_cannot_be_had_is_passed_over() {
    let model = model(ModelKind::Finder);
    let load = |p: Precision| match p {
        Precision::F16 => Ok((p, verdict(0.0))),
        _ => Err(model.problem("not to be had")),
    };
    let time = |_: &mut Precision| Ok(Duration::from_micros(1));
    let (precision, _) = choose(&model, &RUNGS, load, time).unwrap();
    assert_eq!(precision, Precision::F16);
}

/// tract, right in one precision only; without 8 bits for what sees pictures. With what is kept, and
/// how many networks it has loaded.
struct RightIn {
    right: Precision,
    kept: Mutex<HashMap<String, Precision>>,
    loads: std::sync::atomic::AtomicUsize,
}

impl RightIn {
    fn new(right: Precision) -> Self {
        Self { right, kept: Mutex::default(), loads: Default::default() }
    }

    fn loads(&self) -> usize {
        self.loads.swap(0, std::sync::atomic::Ordering::Relaxed)
    }
}

struct Wrong(Box<dyn Engine>);

impl Engine for Wrong {
    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn run(
        &mut self,
        inputs: &[TensorRef<'_>],
        outputs: &mut [TensorMut<'_>],
    ) -> Result<(), EngineError> {
        self.0.run(inputs, outputs)?;
        outputs.iter_mut().for_each(|output| output.data[0] = f32::NAN);
        Ok(())
    }
}

impl Backend for RightIn {
    fn name(&self) -> &'static str {
        "right in one"
    }

    fn check(&self) -> Result<(), EngineError> {
        Ok(())
    }

    fn precision(&self, model: &ModelSpec, asked: Precision) -> Precision {
        match (asked, model.kind()) {
            (Precision::I8, ModelKind::Finder | ModelKind::Keypoints) => Precision::F16,
            _ => asked,
        }
    }

    fn kept_choice(&self, model: &ModelSpec) -> Option<Precision> {
        self.kept.lock().unwrap().get(&model.name).copied()
    }

    fn keep_choice(&self, model: &ModelSpec, precision: Precision) {
        self.kept.lock().unwrap().insert(model.name.clone(), precision);
    }

    fn load(
        &self,
        model: &ModelSpec,
        precision: Precision,
        batch: usize,
    ) -> Result<Box<dyn Engine>, EngineError> {
        self.loads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let engine = Tract.load(model, Precision::F32, batch)?;
        Ok(if precision == self.right { engine } else { Box::new(Wrong(engine)) })
    }
}

/// How far the first value of an answer to a black picture is from the reference's.
fn judge() -> Judge {
    Box::new(|model, _, reference, candidate| {
        let answer = |engine: &mut dyn Engine| {
            let signature = engine.signature().clone();
            let len = |shape: &[usize]| shape.iter().product::<usize>();
            let (_, input) = &signature.inputs[0];
            let given = vec![0.0; len(input)];
            let mut found: Vec<Vec<f32>> =
                signature.outputs.iter().map(|(_, shape)| vec![0.0; len(shape)]).collect();
            let mut outputs: Vec<_> = signature
                .outputs
                .iter()
                .zip(&mut found)
                .map(|((_, shape), data)| TensorMut { shape, data })
                .collect();
            engine.run(&[TensorRef { shape: input, data: &given }], &mut outputs)?;
            Ok::<f32, EngineError>(found[0][0])
        };
        assert!(!model.name.is_empty());
        Ok(verdict(f64::from((answer(reference)? - answer(candidate)?).abs())))
    })
}

#[test]
fn each_network_keeps_the_precision_that_was_chosen_for_it() {
    let ladder = Ladder::new(RightIn::new(Precision::F16), &TRACT, judge());
    let (finder, lifter) = (model(ModelKind::Finder), model(ModelKind::Lifter));
    assert_eq!(ladder.rungs(&finder), [Precision::F32, Precision::F16]);
    assert_eq!(ladder.precision(&finder, Precision::F32), Precision::F32, "not chosen yet");
    ladder.load(&finder, Precision::F32, 1).unwrap();
    assert_eq!(ladder.precision(&finder, Precision::F32), Precision::F16);
    ladder.load(&finder, Precision::F32, 1).unwrap();

    ladder.load_lifter(&lifter, Precision::F32, 1).unwrap();
    assert_eq!(ladder.precision(&lifter, Precision::F32), Precision::F16);
    let budget = ladder.budget(&lifter, Precision::F32).unwrap();
    assert_eq!(budget, Budget::lifter(Precision::F16), "it is judged as what it is");
}

#[test]
fn a_later_start_loads_what_was_chosen_alone_if_it_is_still_right() {
    let start = |backend: RightIn| {
        let ladder = Ladder::new(backend, &TRACT, judge());
        let finder = model(ModelKind::Finder);
        ladder.load(&finder, Precision::F32, 1).unwrap();
        let chosen = ladder.precision(&finder, Precision::F32);
        (ladder.backend, chosen)
    };
    let (backend, chosen) = start(RightIn::new(Precision::F16));
    assert_eq!((chosen, backend.loads()), (Precision::F16, 2), "both of the finder's");
    let (mut backend, chosen) = start(backend);
    assert_eq!((chosen, backend.loads()), (Precision::F16, 1));
    // Something has changed that the key does not say: it is refused, looked for and kept anew.
    backend.right = Precision::F32;
    let (backend, chosen) = start(backend);
    assert_eq!((chosen, backend.loads()), (Precision::F32, 3));
    assert_eq!(start(backend).0.loads(), 1);
    // What was kept is none of this backend's.
    let backend = RightIn::new(Precision::F16);
    backend.keep_choice(&model(ModelKind::Finder), Precision::I8);
    assert_eq!(start(backend).1, Precision::F16);
}
