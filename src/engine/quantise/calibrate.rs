//! From what a network is fed to its table of ranges, on the CPU.

use super::cpu::{Samples, Simulated};
use super::ranges::{Histogram, Method};
use super::sites::{self, Site};
use super::table::{Range, Table};
use super::watch::{Tell, Watched};
use super::{open, smooth};
use crate::engine::gate::{self, Budget};
use crate::engine::onnx::{self, stem};
use crate::engine::spec::hex;
use crate::engine::{Backend, EngineError, ModelKind, ModelSpec, Precision};

/// Fewer samples than this make no table.
pub const FEWEST: usize = 16;

/// The table of `model` from `samples` (for each the inputs at batch 1, in the manifest's order).
/// Products whose constants' names begin with one of `keep` stay in floating point. `data` says in words what samples are. `progress` is told how many of how many runs are done.
///
/// # Errors
/// If there are too few samples, they are of another model, or the network cannot be run.
pub fn measure(
    model: &ModelSpec,
    samples: &Samples,
    method: Method,
    keep: &[String],
    data: String,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Table, EngineError> {
    let samples = samples.take();
    if samples.len() < FEWEST {
        return Err(model.problem(format!(
            "only {} samples came, {FEWEST} are the least: give more or longer data",
            samples.len()
        )));
    }
    let mut table =
        ranges(model, &samples, method, keep, progress).map_err(|e| model.problem(e))?;
    table.data = data;
    if model.kind() == ModelKind::Lifter && model.golden.is_some() {
        let mut network = Simulated(table.clone()).load_lifter(model, Precision::I8, 1)?;
        let any = Budget { mean: f64::INFINITY, worst: f64::INFINITY };
        if let Some(verdict) = gate::verify_lifter(model, network.as_mut(), any)? {
            table.golden_mean_mm = Some(rounded(verdict.mean));
            table.golden_worst_mm = Some(rounded(verdict.worst));
        }
    }
    Ok(table)
}

/// To a thousandth.
fn rounded(v: f64) -> f64 {
    (v * 1e3).round() / 1e3
}

fn ranges(
    model: &ModelSpec,
    samples: &[Vec<Vec<f32>>],
    method: Method,
    keep: &[String],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Table, String> {
    let bytes = model.bytes().map_err(|e| e.to_string())?;
    let (mut proto, constants) = open(&bytes)?;
    let mut sites = sites::find(onnx::graph(&proto)?, &constants);
    sites.retain(|s| !keep.iter().any(|k| s.key.starts_with(k.as_str())));
    if sites.is_empty() {
        return Err("it has no product that is worth quantising".to_owned());
    }
    let mut tensors: Vec<String> = sites.iter().map(|s| s.activation.clone()).collect();
    tensors.sort();
    tensors.dedup();
    let place = |s: &Site| tensors.binary_search(&s.activation).unwrap_or(0);
    let rows: Vec<Option<Vec<f32>>> = sites
        .iter()
        .map(|s| constants.get(&s.weight).filter(|_| s.norm.is_some()).map(|c| c.values.clone()))
        .collect();
    constants.put_back(onnx::graph_mut(&mut proto)?);
    let watched = Watched::new(&proto, model.inputs(1), &tensors)?;
    let total = 2 * samples.len();
    let run = |sample: &Vec<Vec<f32>>, tell: &mut Tell<'_>| {
        let inputs: Vec<&[f32]> = sample.iter().map(Vec::as_slice).collect();
        watched.run(&inputs, tell)
    };

    // How large each channel gets behind a LayerNormalization.
    let width = |i: usize| constants_width(&rows, &sites, &tensors, i);
    let mut channels: Vec<Vec<f32>> = (0..tensors.len()).map(|i| vec![0.0; width(i)]).collect();
    for (n, sample) in samples.iter().enumerate() {
        run(sample, &mut |i, values| {
            let most = &mut channels[i];
            for row in values.chunks_exact(most.len().max(1)) {
                most.iter_mut().zip(row).for_each(|(m, v)| *m = m.max(v.abs()));
            }
            Ok(())
        })?;
        progress(n + 1, total);
    }
    let smoothing: Vec<Vec<i8>> = sites
        .iter()
        .zip(&rows)
        .map(|(site, rows)| match rows {
            Some(rows) => smooth::exponents(&channels[place(site)], rows),
            None => Vec::new(),
        })
        .collect();

    let mut histograms: Vec<Histogram> = vec![Histogram::default(); tensors.len()];
    // Of a LayerNormalization's output there is one reader, so one smoothing.
    let mut divisors: Vec<Vec<f32>> = vec![Vec::new(); tensors.len()];
    for (site, exponents) in sites.iter().zip(&smoothing) {
        divisors[place(site)] = exponents.iter().map(|e| f32::from(-e).exp2()).collect();
    }
    let mut scaled = Vec::new();
    for (n, sample) in samples.iter().enumerate() {
        run(sample, &mut |i, values| {
            scaled.clear();
            scaled.extend_from_slice(values);
            for row in scaled.chunks_exact_mut(divisors[i].len().max(1)) {
                row.iter_mut().zip(&divisors[i]).for_each(|(v, d)| *v *= d);
            }
            histograms[i].add(&scaled)
        })?;
        progress(samples.len() + n + 1, total);
    }
    let site = sites.iter().zip(smoothing).filter_map(|(site, smooth)| {
        let histogram = &histograms[place(site)];
        let activation = stem(&site.activation).to_owned();
        let (range, largest) = (histogram.range(method), histogram.largest());
        // What is always zero needs no scale.
        (range > 0.0).then(|| (site.key.clone(), Range { activation, range, largest, smooth }))
    });
    Ok(Table {
        model: model.name.clone(),
        sha256: hex(&model.sha256),
        method,
        data: String::new(),
        samples: samples.len(),
        golden_mean_mm: None,
        golden_worst_mm: None,
        mpjpe_change_mm: None,
        worst_action_change_mm: None,
        acceleration_change_percent: None,
        site: site.collect(),
    })
}

/// How many channels tensor `i` has, if it is smoothed.
fn constants_width(
    rows: &[Option<Vec<f32>>],
    sites: &[Site],
    tensors: &[String],
    i: usize,
) -> usize {
    let of = sites.iter().zip(rows).find(|(s, r)| s.activation == tensors[i] && r.is_some());
    of.and_then(|(s, _)| s.channels).unwrap_or(0)
}
