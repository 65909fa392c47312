//! `posewire check --self-test`: the GPU against the CPU, on this device, network by network.
//!
//! It is the gate that engines pass before they serve, with its numbers, and how long a call takes
//! on either.

use std::time::Duration;

use super::Report;
use crate::config::Plan;
use crate::engine::exchange::Judge;
use crate::engine::gate::{self, Verdict};
use crate::engine::ladder::{RUNGS, time_network, time_step};
use crate::engine::tensorrt::{Machine, TensorRt};
use crate::engine::tract::Tract;
use crate::engine::{Backend, Catalog, EngineError, ModelKind, ModelSpec, Precision};
use crate::fault::Chain;
use crate::lift::LIKELY_PERSONS;

use super::super::scenes;

const SUBJECT: &str = "self-test";
/// Calls that are timed, on the GPU and on the CPU.
const CALLS: [usize; 2] = [200, 20];
const REMEDY: &str = "another precision, or backend = \"tract\"; and please report it";

/// Holds all networks of a plan, or those that would run without one, on TensorRT against tract.
pub(super) fn gpu(plan: Option<&Plan>, report: &mut Report) {
    let later = TensorRt::default();
    if let Err(e) = later.check() {
        let words = format!("not run: there is nothing to hold against the CPU: {}", Chain(&e));
        return report.error(SUBJECT, words, "see gpu and tensorrt above; docs/tensorrt.md");
    }
    report
        .note(SUBJECT, format!("{}; networks not built yet are built", Machine::get().describe()));
    match networks(plan) {
        Ok(models) => {
            let precisions = match plan {
                Some(plan) if !plan.fastest_precision => &[plan.precision],
                _ => &RUNGS[..],
            };
            compare(&models, precisions, (&later, &Tract), &scenes::judge(), report);
        }
        Err(e) => report.error(SUBJECT, Chain(&e).to_string(), "`posewire models` lists the names"),
    }
}

fn networks(plan: Option<&Plan>) -> Result<Vec<ModelSpec>, EngineError> {
    let models = plan.map(|p| p.models.clone()).unwrap_or_default();
    let catalog = match &models.dir {
        Some(dir) => Catalog::with_dir(dir)?,
        None => Catalog::embedded()?,
    };
    let detector = catalog.detector(models.detector())?;
    let lifter = catalog.pick(ModelKind::Lifter, models.lifter.as_deref())?;
    Ok(detector.all().cloned().chain([lifter]).collect())
}

/// A finding for each network and precision.
fn compare(
    models: &[ModelSpec],
    precisions: &[Precision],
    backends: (&dyn Backend, &dyn Backend),
    judge: &Judge,
    report: &mut Report,
) {
    for model in models {
        for precision in precisions {
            let computed = backends.0.precision(model, *precision);
            if computed != *precision && precisions.contains(&computed) {
                continue;
            }
            let title = format!("{} {} in {}", model.kind(), model.name, computed.name());
            let done = match model.kind() {
                ModelKind::Lifter => lifter(model, computed, backends),
                ModelKind::Finder | ModelKind::Keypoints | ModelKind::OneStage => {
                    picture(model, computed, backends, judge)
                }
            };
            match done {
                Ok(Compared { verdict, times: [gpu, cpu] }) => {
                    let (ms, names) = (|t: Duration| t.as_secs_f64() * 1e3, backends);
                    let (later, now) = (names.0.name(), names.1.name());
                    let words = format!(
                        "{title}: {verdict}; a call takes {:.3} ms on {later}, {:.3} ms on {now} \
                         (p50)",
                        ms(gpu),
                        ms(cpu)
                    );
                    if verdict.passed() {
                        report.ok(SUBJECT, words);
                    } else {
                        report.error(SUBJECT, words, REMEDY);
                    }
                }
                Err(e) => report.error(SUBJECT, format!("{title}: {}", Chain(&e)), REMEDY),
            }
        }
    }
}

struct Compared {
    verdict: Verdict,
    /// Medians on the GPU, on the CPU.
    times: [Duration; 2],
}

fn picture(
    model: &ModelSpec,
    precision: Precision,
    (later, now): (&dyn Backend, &dyn Backend),
    judge: &Judge,
) -> Result<Compared, EngineError> {
    let mut reference = now.load(model, Precision::F32, 1)?;
    let mut candidate = later.load(model, precision, 1)?;
    let verdict = judge(model, precision, reference.as_mut(), candidate.as_mut())?;
    let gpu = time_network(candidate.as_mut(), CALLS[0])?;
    Ok(Compared { verdict, times: [gpu, time_network(reference.as_mut(), CALLS[1])?] })
}

fn lifter(
    model: &ModelSpec,
    precision: Precision,
    (later, now): (&dyn Backend, &dyn Backend),
) -> Result<Compared, EngineError> {
    let mut reference = now.load_lifter(model, Precision::F32, LIKELY_PERSONS)?;
    let (mut candidate, verdict) = gate::load_lifter(later, model, precision, LIKELY_PERSONS)?;
    let verdict =
        verdict.ok_or_else(|| model.problem("it has no golden windows to be held against"))?;
    let gpu = time_step(model, candidate.as_mut(), CALLS[0])?;
    Ok(Compared { verdict, times: [gpu, time_step(model, reference.as_mut(), CALLS[1])?] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::Level;
    use crate::engine::{Engine, StreamingLifter};

    /// tract, under another name and half a millimetre off.
    struct Off;

    struct OffLifter(Box<dyn StreamingLifter>);

    impl StreamingLifter for OffLifter {
        fn slot_len(&self) -> usize {
            self.0.slot_len()
        }

        fn encode(&mut self, k: &[f32], f: &[f32], slots: &mut [f32]) -> Result<(), EngineError> {
            self.0.encode(k, f, slots)
        }

        fn lift(&mut self, s: &[f32], c: &[f32], joints: &mut [f32]) -> Result<(), EngineError> {
            self.0.lift(s, c, joints)?;
            joints.iter_mut().for_each(|v| *v += 5e-4);
            Ok(())
        }

        fn describe(&self) -> String {
            "off".to_owned()
        }
    }

    impl Backend for Off {
        fn name(&self) -> &'static str {
            "off"
        }

        fn check(&self) -> Result<(), EngineError> {
            Ok(())
        }

        fn load(
            &self,
            model: &ModelSpec,
            _: Precision,
            batch: usize,
        ) -> Result<Box<dyn Engine>, EngineError> {
            Tract.load(model, Precision::F32, batch)
        }

        fn load_lifter(
            &self,
            model: &ModelSpec,
            _: Precision,
            persons: usize,
        ) -> Result<Box<dyn StreamingLifter>, EngineError> {
            Ok(Box::new(OffLifter(Tract.load_lifter(model, Precision::F32, persons)?)))
        }
    }

    #[test]
    fn each_network_has_its_distance_its_times_and_its_verdict() {
        let mut report = Report::default();
        let models = networks(None).unwrap();
        compare(&models, &[Precision::F16], (&Off, &Tract), &scenes::judge(), &mut report);
        let levels: Vec<Level> = report.findings.iter().map(|f| f.level).collect();
        assert_eq!(levels, [Level::Ok, Level::Ok, Level::Error], "{}", report.findings[0]);
        for finding in &report.findings {
            assert!(finding.found.contains("ms on off"), "{finding}");
            assert!(finding.found.contains("are allowed"), "{finding}");
        }
        assert!(report.findings[2].found.contains("0.86"), "{}", report.findings[2]);
    }
}
