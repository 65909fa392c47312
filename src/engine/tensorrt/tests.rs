use super::*;
use crate::engine::{Catalog, ModelKind};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const NO_DRIVER: &str = "libcuda-of-nobody.so";

/// TensorRT's libraries, if somebody says where they are.
fn libraries() -> Option<PathBuf> {
    let folder = std::env::var_os(FOLDER).map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: {FOLDER} does not say where TensorRT's libraries are");
    }
    folder
}

/// A shared library of this C text; `None` without a C compiler.
fn shared_library(path: &Path, text: &str) -> Option<()> {
    let source = path.with_extension("c");
    fs::write(&source, text).unwrap();
    let command =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(path).arg(source).status();
    let made = command.is_ok_and(|status| status.success());
    if !made {
        eprintln!("skipped: no C compiler");
    }
    made.then_some(())
}

fn model(kind: ModelKind, name: &str) -> ModelSpec {
    // Not the embedded ones: those lack the per-frame and per-window graphs.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    Catalog::with_dir(&folder).unwrap().pick(kind, Some(name)).unwrap()
}

fn unusable(machine: &Machine) -> String {
    let lifter = model(ModelKind::Lifter, "pstmo_s_27_live");
    let error = machine.key(&lifter, Precision::F32, 1).unwrap_err();
    assert!(matches!(error, EngineError::Unavailable { .. }), "{error}");
    error.to_string()
}

#[test]
fn without_driver_and_library_it_says_what_is_missing_and_what_to_do() {
    let empty = tempfile::tempdir().unwrap();
    let machine = Machine::look(Some(empty.path()), Path::new(NO_DRIVER));
    assert!(machine.gpu().unwrap_err().contains(NO_DRIVER));
    let library = machine.library().unwrap_err();
    assert!(library.contains(&empty.path().display().to_string()) || COMPILED_IN.is_empty());
    assert!(unusable(&machine).contains("tract"));
}

#[test]
fn a_driver_that_is_too_old_or_has_no_gpu_is_refused_in_its_own_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("libcuda.so.1");
    let Some(()) = shared_library(&path, "int cuInit(unsigned f) { return 0; }") else { return };
    let Err(error) = sys::Driver::open(&path) else { panic!("half a driver was taken") };
    assert!(error.contains("too old a driver") && error.contains("cuDriverGetVersion"), "{error}");

    // All functions, of which the first fails as it does where no GPU is plugged in.
    let names = [
        "cuDriverGetVersion",
        "cuDeviceGetCount",
        "cuDeviceGet",
        "cuDeviceGetName",
        "cuDeviceGetAttribute",
        "cuDevicePrimaryCtxRetain",
        "cuCtxSetCurrent",
        "cuMemAlloc_v2",
        "cuMemFree_v2",
        "cuMemHostAlloc",
        "cuMemFreeHost",
        "cuMemHostGetDevicePointer_v2",
        "cuMemcpyHtoDAsync_v2",
        "cuMemcpyDtoHAsync_v2",
        "cuStreamCreate",
        "cuStreamDestroy_v2",
        "cuStreamQuery",
        "cuStreamBeginCapture_v2",
        "cuStreamEndCapture",
        "cuGraphInstantiateWithFlags",
        "cuGraphLaunch",
        "cuGraphDestroy",
        "cuGraphExecDestroy",
        "cuModuleLoadData",
        "cuModuleGetFunction",
        "cuLaunchKernel",
    ];
    let mut text = String::from(
        "int cuInit(unsigned f) { return 100; }\n\
         int cuGetErrorName(int e, const char **n) { *n = \"CUDA_ERROR_NO_DEVICE\"; return 0; }\n",
    );
    for name in names {
        text.push_str(&format!("int {name}(void) {{ return 999; }}\n"));
    }
    // Another name: the loader knows the first one already.
    let path = folder.path().join("libcuda-2.so");
    shared_library(&path, &text).unwrap();
    let machine = Machine::look(Some(folder.path()), &path);
    let error = machine.gpu().unwrap_err();
    assert!(error.contains("100") && error.contains("CUDA_ERROR_NO_DEVICE"), "{error}");
}

#[test]
fn a_library_that_is_none_or_of_an_unknown_version_is_named() {
    if COMPILED_IN.is_empty() {
        eprintln!("skipped: no TensorRT is compiled in");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let [core, parser] = Family::Rtx.files();
    fs::write(folder.path().join(core), "not a library").unwrap();
    let machine = Machine::look(Some(folder.path()), Path::new(NO_DRIVER));
    assert!(machine.library().unwrap_err().contains(core));

    let newer = tempfile::tempdir().unwrap();
    let text = "int getInferLibVersion(void) { return 10801; }";
    let Some(()) = shared_library(&newer.path().join(core), text) else { return };
    shared_library(&newer.path().join(parser), "int x;").unwrap();
    let machine = Machine::look(Some(newer.path()), Path::new(NO_DRIVER));
    let error = machine.library().unwrap_err();
    assert!(error.contains("1.8.1") && error.contains("1.5 to 1.7"), "{error}");
}

/// What needs no GPU: the file read, typed, given a profile and serialised.
#[test]
fn every_shipped_network_is_built_in_every_precision_that_it_has() {
    let Some(folder) = libraries() else { return };
    let machine = Machine::look(Some(&folder), Path::new(NO_DRIVER));
    eprintln!("{}", machine.library().unwrap());
    let lifter = model(ModelKind::Lifter, "pstmo_s_81_live");
    let (frame, window) = lifter.streaming_parts().unwrap().unwrap();
    let finder = model(ModelKind::Finder, "posewire-finder");
    let keypoints = model(ModelKind::Keypoints, "posewire-keypoints");
    let short = model(ModelKind::Lifter, "pstmo_s_27_live");
    let in_8_bits = [lifter.clone(), short].map(|lifter| (lifter, Precision::I8));
    let models = [lifter, frame, window, finder, keypoints];
    let both = |m: ModelSpec| [Precision::F32, Precision::F16].map(|p| (m.clone(), p));
    for (spec, precision) in models.into_iter().flat_map(both).chain(in_8_bits) {
        let mut phases = 0;
        let plan = machine.build(&spec, precision, 1, &mut |_, _, _| {
            phases += 1;
            true
        });
        let plan = plan.unwrap_or_else(|e| panic!("{} {precision:?}: {e}", spec.name));
        eprintln!("{} {precision:?}: {} bytes, {phases} reports", spec.name, plan.len());
        assert!(plan.len() > 100_000 && phases > 0, "{} {precision:?}", spec.name);
    }
}

#[test]
fn a_plan_is_kept_under_the_environment_that_it_depends_on() {
    let Some(folder) = libraries() else { return };
    let machine = Machine::look(Some(&folder), Path::new(NO_DRIVER));
    let library = machine.library.as_ref().unwrap();
    let plain = library_name(library, None);
    assert_eq!(plain, library.version.to_string());
    assert_eq!(library_name(library, Some("")), plain, "unset");
    assert_ne!(library_name(library, Some("0")), plain);
}

#[test]
fn a_process_with_a_build_under_way_ends_with_its_exit_code() {
    const CHILD: &str = "POSEWIRE_TEST_LEAVES_A_BUILD";
    let Some(folder) = libraries() else { return };
    if std::env::var_os(CHILD).is_none() {
        let name =
            "engine::tensorrt::tests::a_process_with_a_build_under_way_ends_with_its_exit_code";
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, "yes")
            .output()
            .unwrap();
        assert_eq!(child.status.code(), Some(7), "{child:?}");
        return;
    }
    leave_if_busy(1); // Nothing is under way: goes on.
    let (under_way, begun) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let machine = Machine::look(Some(&folder), Path::new(NO_DRIVER));
        let keypoints = model(ModelKind::Keypoints, "posewire-keypoints");
        machine.build(&keypoints, Precision::F32, 1, &mut |_, _, _| {
            let _ = under_way.send(());
            std::thread::sleep(std::time::Duration::from_millis(50));
            true
        })
    });
    begun.recv().unwrap();
    leave_if_busy(7);
}

#[test]
fn a_build_can_be_cancelled_and_a_broken_file_is_refused_with_the_reason() {
    let Some(folder) = libraries() else { return };
    let machine = Machine::look(Some(&folder), Path::new(NO_DRIVER));
    let keypoints = model(ModelKind::Keypoints, "posewire-keypoints-small");
    let error = machine.build(&keypoints, Precision::F32, 1, &mut |_, _, _| false).unwrap_err();
    assert!(error.to_string().contains("cancelled"), "{error}");

    let library = machine.library.as_ref().unwrap();
    let options = sys::BuildOptions {
        batch: [1, 2, 8],
        f16: false,
        i8: false,
        level: None,
        workspace: None,
        timing: &[],
    };
    let whole = keypoints.bytes().unwrap();
    let build = |onnx: &[u8]| library.build(onnx, &options, &mut |_, _, _| true);
    for (broken, what) in [(&whole[..whole.len() / 2], "half a file"), (&b"words"[..], "no ONNX")] {
        let Err(error) = build(broken) else { panic!("{what} was built") };
        assert!(matches!(error, sys::BuildError::File(_)), "{what}: {error}");
        assert!(error.to_string().contains("cannot read the ONNX file"), "{what}: {error}");
    }
    // An operator of nobody's.
    let mut renamed = whole.to_vec();
    while let Some(at) = renamed.windows(12).position(|w| w == b"DepthToSpace") {
        renamed[at..at + 12].copy_from_slice(b"DepthToTimes");
    }
    let Err(error) = build(&renamed) else { panic!("built") };
    assert!(error.to_string().contains("DepthToTimes"), "{error}");
}

/// TensorRT for RTX measures nothing; plain TensorRT refuses what is no times, or another GPU's.
#[test]
fn what_is_no_times_costs_no_build_with_the_real_library() {
    let Some(folder) = libraries() else { return };
    let machine = Machine::look(Some(&folder), Path::new(NO_DRIVER));
    let library = machine.library.as_ref().unwrap();
    let keypoints = model(ModelKind::Keypoints, "posewire-keypoints-small");
    let whole = keypoints.bytes().unwrap();
    for timing in [&b""[..], b"no times of any library"] {
        let options = sys::BuildOptions {
            batch: [1; 3],
            f16: false,
            i8: false,
            level: None,
            workspace: None,
            timing,
        };
        match library.build(&whole, &options, &mut |_, _, _| true) {
            Ok(built) => assert!(built.plan.len() > 100_000),
            Err(sys::BuildError::Library(e)) if !timing.is_empty() => {
                assert!(e.contains("times"), "{e}");
            }
            Err(e) => panic!("{e}"),
        }
    }
}

#[test]
fn eight_bits_are_for_lifters_whose_ranges_are_known() {
    for (kind, name, computed) in [
        (ModelKind::Finder, "posewire-finder", Precision::F16),
        (ModelKind::Keypoints, "posewire-keypoints", Precision::F16),
        (ModelKind::Lifter, "pstmo_s_81_live", Precision::I8),
    ] {
        let model = model(kind, name);
        assert_eq!(TensorRt::default().precision(&model, Precision::I8), computed, "{name}");
        for asked in [Precision::F32, Precision::F16] {
            assert_eq!(TensorRt::default().precision(&model, asked), asked, "{name}");
        }
    }
}

/// A lifter that nobody measured in 8 bits must not become one of another precision in silence.
#[test]
fn a_lifter_without_a_table_of_ranges_is_refused_in_8_bits() {
    let Some(folder) = libraries() else { return };
    let machine = Machine::look(Some(&folder), Path::new(NO_DRIVER));
    let mut lifter = model(ModelKind::Lifter, "pstmo_s_27_live");
    lifter.name = "of somebody".into();
    let error = machine.build(&lifter, Precision::I8, 1, &mut |_, _, _| true).unwrap_err();
    assert!(error.to_string().contains("no table of ranges"), "{error}");
}
