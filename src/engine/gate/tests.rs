use super::*;
use crate::engine::catalog::Catalog;
use crate::engine::tract::Tract;
use crate::engine::{Backend, ModelKind, Signature};

/// The real network, with something done to its answers.
struct Double<F> {
    inner: Box<dyn StreamingLifter>,
    spoil: F,
}

impl<F: FnMut(&mut [f32]) + Send> StreamingLifter for Double<F> {
    fn slot_len(&self) -> usize {
        self.inner.slot_len()
    }

    fn encode(&mut self, k: &[f32], fresh: &[f32], slots: &mut [f32]) -> Result<(), EngineError> {
        self.inner.encode(k, fresh, slots)
    }

    fn lift(&mut self, s: &[f32], c: &[f32], joints: &mut [f32]) -> Result<(), EngineError> {
        self.inner.lift(s, c, joints)?;
        (self.spoil)(joints);
        Ok(())
    }

    fn describe(&self) -> String {
        "a double".to_owned()
    }
}

fn judged(spoil: impl FnMut(&mut [f32]) + Send, precision: Precision) -> Verdict {
    let catalog = Catalog::embedded().unwrap();
    let model = catalog.pick(ModelKind::Lifter, Some("pstmo_s_27_live")).unwrap();
    let inner = Tract.load_lifter(&model, Precision::F32, 1).unwrap();
    let mut double = Double { inner, spoil };
    verify_lifter(&model, &mut double, Budget::lifter(precision)).unwrap().unwrap()
}

#[test]
fn the_cpu_passes_on_every_shipped_lifter() {
    let catalog = Catalog::embedded().unwrap();
    for name in ["pstmo_s_27_live", "pstmo_s_81_live"] {
        let model = catalog.pick(ModelKind::Lifter, Some(name)).unwrap();
        let mut network = Tract.load_lifter(&model, Precision::F32, 1).unwrap();
        let budget = Budget::lifter(Precision::F32);
        let verdict = verify_lifter(&model, network.as_mut(), budget).unwrap().unwrap();
        assert!(verdict.passed(), "{name}: {verdict}");
        assert!(verdict.cases >= 3 && verdict.worst < 0.05, "{name}: {verdict}");
    }
}

#[test]
fn a_nan_is_never_within_wherever_it_is() {
    for at in [0, 25, 50] {
        let verdict = judged(|j| j[at] = f32::NAN, Precision::F16);
        assert!(verdict.worst.is_nan() && !verdict.passed(), "{at}: {verdict}");
    }
    let endless = judged(|j| j[7] = f32::INFINITY, Precision::F16);
    assert!(!endless.passed(), "{endless}");
}

#[test]
fn a_tenth_of_a_millimetre_everywhere_or_two_in_one_joint_is_too_far_for_f16() {
    let everywhere = judged(|j| j.iter_mut().for_each(|v| *v += 1e-4), Precision::F16);
    assert!((everywhere.mean - 0.173).abs() < 0.01 && !everywhere.passed(), "{everywhere}");
    let one = judged(|j| j[30] += 2e-3, Precision::F16);
    assert!((one.worst - 2.0).abs() < 0.05 && !one.passed(), "{one}");
    let near = judged(|j| j.iter_mut().for_each(|v| *v += 1e-5), Precision::F16);
    assert!(near.passed(), "{near}");
    assert!(everywhere.to_string().contains("mm are allowed"), "{everywhere}");
}

#[test]
fn nothing_measured_is_not_within() {
    let none = Distances::default().verdict(0, Budget::lifter(Precision::F32), "mm");
    assert!(!none.passed());
}

#[test]
fn the_fastest_that_passes_is_taken_and_no_other() {
    let verdict = |mean| Verdict {
        cases: 3,
        mean,
        worst: mean,
        budget: Budget { mean: 1.0, worst: 1.0 },
        unit: "mm",
    };
    let candidate = |what, mean, us| {
        let median = Duration::from_micros(us);
        Candidate { what, verdict: verdict(mean), median }
    };
    let chosen = fastest([
        candidate("f32", 0.0, 400),
        candidate("f16", 0.1, 200),
        candidate("int8, slower than f16", 0.4, 250),
        candidate("int8, wrong and fast", 9.0, 10),
        candidate("broken", f64::NAN, 5),
    ]);
    assert_eq!(chosen.map(|c| c.what), Some("f16"));
    assert!(fastest([candidate("wrong", 2.0, 1)]).is_none());
}

#[test]
fn time_is_the_median_of_what_was_called() {
    let mut calls = 0;
    let median = time(9, || {
        calls += 1;
        std::thread::sleep(Duration::from_millis(if calls == 5 { 30 } else { 1 }));
        Ok::<(), EngineError>(())
    });
    let median = median.unwrap();
    assert!((1..20).contains(&median.as_millis()), "{median:?}");
    assert_eq!(calls, 10);
}

/// Heatmaps with a peak at a stated cell.
struct Peaks {
    signature: Signature,
    at: (usize, usize),
    nan: bool,
}

impl Peaks {
    fn new(at: (usize, usize), nan: bool) -> Self {
        let inputs = vec![("image".to_owned(), vec![1, 1, 4, 4])];
        let outputs = vec![("maps".to_owned(), vec![1, 2, 8, 6])];
        Self { signature: Signature { inputs, outputs }, at, nan }
    }
}

impl Engine for Peaks {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn run(
        &mut self,
        _: &[TensorRef<'_>],
        outputs: &mut [TensorMut<'_>],
    ) -> Result<(), EngineError> {
        for map in outputs[0].data.chunks_exact_mut(48) {
            map.fill(0.0);
            map[self.at.1 * 6 + self.at.0] = 0.9;
            if self.nan {
                map[0] = f32::NAN;
            }
        }
        Ok(())
    }
}

/// How far the highest cells of all maps are apart, in cells.
fn cells_apart(wanted: &[Vec<f32>], found: &[Vec<f32>], apart: &mut Vec<f64>) {
    let top = |map: &[f32]| {
        let at = (0..map.len()).max_by(|a, b| map[*a].total_cmp(&map[*b])).unwrap();
        map.iter().all(|v| v.is_finite()).then_some((at % 6, at / 6))
    };
    for (a, b) in wanted[0].chunks_exact(48).zip(found[0].chunks_exact(48)) {
        let (a, b) = (top(a).unwrap(), top(b));
        let far = |b: (usize, usize)| (a.0.abs_diff(b.0) as f64).hypot(a.1.abs_diff(b.1) as f64);
        apart.push(b.map_or(f64::NAN, far));
    }
}

#[test]
fn answers_to_pictures_are_compared_with_the_reference() {
    let judge = |at, nan, pictures: usize| {
        let (mut wanted, mut given) = (Peaks::new((2, 3), false), Peaks::new(at, nan));
        let budget = Budget::keypoints(Precision::F16);
        let pictures = vec![vec![0.0; 16]; pictures];
        let mut apart = cells_apart;
        let mut both = SideBySide::new(&mut wanted, &mut given, &mut apart).unwrap();
        pictures.iter().for_each(|picture| both.show(picture, None).unwrap());
        both.verdict(budget)
    };
    assert!(judge((2, 3), false, 2).passed());
    let beside = judge((3, 3), false, 2);
    assert!(!beside.passed() && (beside.mean - 1.0).abs() < 1e-9, "{beside}");
    assert!(!judge((2, 3), true, 1).passed());
    assert!(!judge((2, 3), false, 0).passed(), "nothing was shown");
}

#[test]
fn a_network_of_other_tensors_is_not_compared() {
    let (mut wanted, mut given) = (Peaks::new((2, 3), false), Peaks::new((2, 3), false));
    given.signature.outputs[0].1 = vec![1, 2, 6, 8];
    let mut apart = cells_apart;
    let both = SideBySide::new(&mut wanted, &mut given, &mut apart);
    let Err(error) = both else { panic!("they are compared") };
    assert!(error.to_string().contains("tensors"), "{error}");
}

#[test]
fn eight_bits_are_served_only_with_an_error_that_was_measured() {
    let text = "model = \"m\"\nsha256 = \"\"\nmethod = \"mse\"\ndata = \"\"\nsamples = 1\n";
    let told = |more: &str| {
        let table = Table::read(&format!("{text}{more}\n[site]\n")).unwrap();
        Budget::int8(&table)
    };
    assert!(told("").unwrap_err().contains("golden windows"));
    let golden = "golden_mean_mm = 2.0\ngolden_worst_mm = 8.0\n";
    assert!(told(golden).unwrap_err().contains("held-out"));
    let known = |change, action, acceleration| {
        format!(
            "{golden}mpjpe_change_mm = {change:.1}\nworst_action_change_mm = {action:.1}\n\
             acceleration_change_percent = {acceleration:.1}"
        )
    };
    let budget = told(&known(0.3, 0.9, 4.0)).unwrap();
    assert!(budget.mean > 2.0 && budget.mean < 3.0, "{budget:?}");
    assert!(told(&known(0.6, 0.9, 4.0)).unwrap_err().contains("0.60 mm"));
    assert!(told(&known(0.3, 1.1, 4.0)).unwrap_err().contains("worst action"));
    assert!(told(&known(0.3, 0.9, 26.0)).unwrap_err().contains("26 % of acceleration"));
}
