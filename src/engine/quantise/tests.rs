use std::collections::{BTreeMap, HashSet};

use super::cpu::{Collecting, Samples, Simulated};
use super::ranges::Method;
use super::table::Range;
use super::*;
use crate::engine::catalog::Catalog;
use crate::engine::spec::{Asset, hex};
use crate::engine::tract::Tract;
use crate::engine::{Backend, ModelKind, ModelSpec, Precision, StreamingLifter};

fn lifter(name: &str) -> ModelSpec {
    // The files, for their streaming graphs are not in the program.
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    Catalog::with_dir(&dir).unwrap().pick(ModelKind::Lifter, Some(name)).unwrap()
}

/// A table with the given range everywhere.
fn table(model: &ModelSpec, range: f32) -> Table {
    let (proto, constants) = open(&model.bytes().unwrap()).unwrap();
    let sites = sites::find(onnx::graph(&proto).unwrap(), &constants);
    let one = |s: &sites::Site| Range {
        activation: onnx::stem(&s.activation).to_owned(),
        range,
        largest: range,
        smooth: Vec::new(),
    };
    Table {
        model: model.name.clone(),
        sha256: hex(&model.sha256),
        method: Method::Percentile,
        data: "none".to_owned(),
        samples: 0,
        golden_mean_mm: None,
        golden_worst_mm: None,
        mpjpe_change_mm: None,
        worst_action_change_mm: None,
        acceleration_change_percent: None,
        site: sites.iter().map(|s| (s.key.clone(), one(s))).collect::<BTreeMap<_, _>>(),
    }
}

fn operators(bytes: &[u8]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for n in &onnx::read(bytes).unwrap().graph.unwrap().node {
        *counts.entry(n.op_type.clone()).or_default() += 1;
    }
    counts
}

/// The lifter's answer to windows of noise.
fn answer(network: &mut dyn StreamingLifter, frames: usize) -> Vec<f32> {
    let noise = |i: usize| ((i * 2_654_435_761) % 1009) as f32 / 1009.0 - 0.5;
    let keypoints: Vec<f32> = (0..frames * 51).map(noise).collect();
    let mut slots = vec![0.0; frames * network.slot_len()];
    let mut joints = vec![0.0; 51];
    network.encode(&keypoints, &vec![0.0; frames], &mut slots).unwrap();
    network.lift(&slots, &[0.3, 0.1, -0.2, 0.9, 0.0, 0.0], &mut joints).unwrap();
    joints
}

#[test]
fn the_quantised_products_are_those_of_the_design() {
    let keys = |name: &str| -> Vec<String> { table(&lifter(name), 1.0).site.into_keys().collect() };
    let keys = keys("pstmo_s_27_live");
    for kept in ["sem_in_w", "ctx1_w", "vte_w", "head_w"] {
        assert!(!keys.iter().any(|k| k == kept), "{kept} must stay in floating point: {keys:?}");
    }
    for part in ["tem0", "tem1", "tem2", "mofa0", "mofa1", "mofa2"] {
        for product in ["qkv_w", "proj_w", "w1_w", "w2_w"] {
            let key = format!("{part}_{product}");
            assert!(keys.contains(&key), "{key} is missing: {keys:?}");
        }
    }
    for sem in ["sem_1_w", "sem_2_w", "sem_out_w"] {
        assert!(keys.iter().any(|k| k == sem), "{sem} is missing: {keys:?}");
    }
    assert_eq!(keys.len(), 27);
}

#[test]
fn an_8_bit_network_has_scales_around_its_products_and_tract_refuses_it() {
    let model = lifter("pstmo_s_27_live");
    let bytes = model.bytes().unwrap();
    let table = table(&model, 4.0);
    let eight = int8(&bytes, &table).unwrap();
    let counts = operators(&eight);
    assert_eq!(counts["QuantizeLinear"], table.site.len());
    assert_eq!(counts["DequantizeLinear"], 2 * table.site.len());
    assert!(eight.len() < bytes.len(), "{} of {}", eight.len(), bytes.len());
    assert!(counts["Cast"] > 0, "{counts:?}");
    // With scales in halves a GPU has made infinities of them.
    let graph = onnx::read(&eight).unwrap().graph.unwrap();
    let scales = graph
        .initializer
        .iter()
        .filter(|t| t.name.ends_with("/scale") || t.name.ends_with("/scales"));
    let types: Vec<i32> = scales.map(|t| t.data_type).collect();
    assert_eq!(
        types,
        vec![tract_onnx::pb::tensor_proto::DataType::Float as i32; 2 * table.site.len()]
    );
    // Twice the same is the same file: nothing depends on the order of a map.
    assert_eq!(eight, int8(&bytes, &table).unwrap());
    // What was quantised is not quantised again.
    assert!(int8(&eight, &table).is_err());
    let quantised = ModelSpec {
        sha256: crate::engine::spec::sha256(&eight),
        weights: Asset::Made(eight.into()),
        ..model
    };
    let said = Tract.load(&quantised, Precision::F32, 1).err().unwrap().to_string();
    assert!(said.contains("quantised"), "{said}");
}

#[test]
fn what_stays_in_floating_point_is_as_in_the_f16_network() {
    for name in ["pstmo_s_27_live", "pstmo_s_81_live"] {
        let model = lifter(name);
        let table = shipped(&model).unwrap().unwrap();
        let file = int8(&model.bytes().unwrap(), &table).unwrap();
        let graph = onnx::read(&file).unwrap().graph.unwrap();
        let half = half_typed::to_half(&model.bytes().unwrap()).unwrap();
        let half = onnx::read(&half).unwrap().graph.unwrap();
        let made_by = |op: &str| -> HashSet<&String> {
            graph.node.iter().filter(|n| n.op_type == op).flat_map(|n| &n.output).collect()
        };
        let scaled = made_by("DequantizeLinear");
        let mut eight = 0;
        for n in graph.node.iter().filter(|n| n.op_type == "MatMul") {
            if n.input.iter().all(|i| scaled.contains(i)) {
                eight += 1;
                continue;
            }
            let made = n.name.trim_end_matches("/sum");
            let same = half.node.iter().find(|h| h.op_type == "MatMul" && h.name == made);
            let (is, was) = (&n.output[0], &same.unwrap().output[0]);
            assert_eq!(is.ends_with("/sum"), was.ends_with("_wide_sum"), "{name}: {is}");
        }
        assert_eq!(eight, table.site.len(), "{name}");
        let names: HashSet<&String> = graph.node.iter().map(|n| &n.name).collect();
        assert_eq!(
            names.len(),
            graph.node.len(),
            "{name}: runtimes refuse a name that comes twice"
        );
    }
}

#[test]
fn streaming_graphs_take_the_same_table_but_not_for_what_they_multiply_differently() {
    let model = lifter("pstmo_s_27_live");
    let table = table(&model, 4.0);
    let (frame, window) = model.streaming_parts().unwrap().unwrap();
    let count = |part: &ModelSpec| operators(&int8(&part.bytes().unwrap(), &table).unwrap())["QuantizeLinear"];
    // The first layer's projections are shares of sums there: no LayerNormalization before them.
    assert_eq!(count(&frame), 3);
    assert_eq!(count(&window), 23);
}

#[test]
fn smoothing_changes_nothing_in_floating_point() {
    let model = lifter("pstmo_s_27_live");
    let (proto, constants) = open(&model.bytes().unwrap()).unwrap();
    let sites = sites::find(onnx::graph(&proto).unwrap(), &constants);
    let mut table = table(&model, 4.0);
    let mut smoothed = 0;
    for site in &sites {
        let (Some(width), Some(range)) = (site.channels, table.site.get_mut(&site.key)) else {
            continue;
        };
        range.smooth = (0..width).map(|c| (c % 7) as i8 - 3).collect();
        smoothed += 1;
    }
    assert_eq!(smoothed, 12);
    let (mut proto, mut constants) = open(&model.bytes().unwrap()).unwrap();
    smooth::apply(&sites, &mut constants, &table).unwrap();
    constants.put_back(onnx::graph_mut(&mut proto).unwrap());
    let bytes = onnx::write(&proto);
    let other = ModelSpec {
        sha256: crate::engine::spec::sha256(&bytes),
        weights: Asset::Made(bytes.into()),
        ..model.clone()
    };
    let load = |m: &ModelSpec| {
        let backend = Collecting(Samples::new(1, 1));
        let mut network = backend.load_lifter(m, Precision::F32, 1).unwrap();
        answer(network.as_mut(), 27)
    };
    let (a, b) = (load(&model), load(&other));
    let worst = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 2e-6, "{worst} m");
}

#[test]
fn calibrating_by_what_a_lifter_was_fed_gives_a_table_that_it_can_be_simulated_with() {
    let model = lifter("pstmo_s_27_live");
    let samples = Samples::new(1, 24);
    let mut network = Collecting(samples.clone()).load_lifter(&model, Precision::F32, 1).unwrap();
    let any = crate::engine::gate::Budget::lifter(Precision::F32);
    for _ in 0..8 {
        crate::engine::gate::verify_lifter(&model, network.as_mut(), any).unwrap().unwrap();
    }
    assert!(samples.full());
    let mut told = 0;
    let data = "its own golden windows".to_owned();
    let progress = &mut |n, total| {
        assert!(n <= total);
        told = n;
    };
    let keep = ["tem0_qkv_w".to_owned()];
    let table =
        calibrate::measure(&model, &samples, Method::Percentile, &keep, data, progress).unwrap();
    assert_eq!((table.samples, told), (24, 48));
    assert_eq!(table.site.len(), 26);
    assert!(!table.site.contains_key("tem0_qkv_w"));
    // It is near, and it is not the f32 network.
    let (mean, worst) = (table.golden_mean_mm.unwrap(), table.golden_worst_mm.unwrap());
    assert!((0.05..15.0).contains(&mean) && worst < 60.0, "{mean} and {worst} mm");
    assert_eq!(Table::read(&table.text().unwrap()).unwrap(), table);
    // Of another file it says nothing.
    let other = lifter("pstmo_s_81_live");
    let refused = Simulated(table).load_lifter(&other, Precision::I8, 1).err().unwrap();
    assert!(refused.to_string().contains("another file"), "{refused}");
}

#[test]
fn too_few_samples_make_no_table() {
    let model = lifter("pstmo_s_27_live");
    let samples = Samples::new(1, 4);
    let made =
        calibrate::measure(&model, &samples, Method::Mse, &[], String::new(), &mut |_, _| {});
    assert!(made.unwrap_err().to_string().contains("more or longer data"));
}

#[test]
fn the_shipped_tables_are_of_the_shipped_lifters_and_say_how_far_8_bits_are_off() {
    for name in ["pstmo_s_27_live", "pstmo_s_81_live"] {
        let model = lifter(name);
        let table = shipped(&model).unwrap().unwrap();
        assert!(table.samples >= 500, "{name}: {}", table.samples);
        let budget = crate::engine::gate::budget(&model, Precision::I8).unwrap();
        let mut network = Simulated(table).load_lifter(&model, Precision::I8, 1).unwrap();
        let verdict = crate::engine::gate::verify_lifter(&model, network.as_mut(), budget);
        let verdict = verdict.unwrap().unwrap();
        assert!(verdict.passed() && verdict.mean > 0.01, "{name}: {verdict}");
    }
}

#[test]
fn tensorrt_builds_8_bit_lifters_and_says_what_it_refuses_of_detectors() {
    use crate::engine::tensorrt::{FOLDER, Machine};
    let Some(folder) = std::env::var_os(FOLDER) else {
        eprintln!("skipped: {FOLDER} does not say where TensorRT's libraries are");
        return;
    };
    let nobody = std::path::Path::new("libcuda-of-nobody.so");
    let machine = Machine::look(Some(folder.as_ref()), nobody);
    if let Err(e) = machine.library() {
        eprintln!("skipped: {e}");
        return;
    }
    // As it is in the file: a network that says its types is not typed again.
    let build = |model: &ModelSpec, table: &Table| {
        let eight = int8(&model.bytes().unwrap(), table).unwrap();
        let made = ModelSpec {
            sha256: crate::engine::spec::sha256(&eight),
            weights: Asset::Made(eight.into()),
            ..model.clone()
        };
        machine.build(&made, Precision::F32, 1, &mut |_, _, _| true)
    };
    for name in ["pstmo_s_27_live", "pstmo_s_81_live"] {
        let model = lifter(name);
        for table in [shipped(&model).unwrap().unwrap(), table(&model, 4.0)] {
            let (frame, window) = model.streaming_parts().unwrap().unwrap();
            for part in [&model, &frame, &window] {
                let plan = build(part, &table).unwrap_or_else(|e| panic!("{}: {e}", part.name));
                assert!(plan.len() > 100_000, "{}: {} bytes", part.name, plan.len());
            }
        }
    }
    let detector = Catalog::embedded().unwrap();
    let detector = detector.pick(ModelKind::Keypoints, Some("posewire-keypoints")).unwrap();
    // Q/DQ around Conv: some libraries build it, some refuse it, none may crash.
    match build(&detector, &table(&detector, 4.0)) {
        Ok(plan) => eprintln!("{}: built, {} bytes", detector.name, plan.len()),
        Err(e) => eprintln!("{e}"),
    }
}
