//! Compiles the TensorRT shim (`src/engine/tensorrt/shim`) for each family of versions whose headers
//! are found. Without headers or a C++ compiler the build goes on without: the program then runs on
//! the CPU, and `posewire check` says why.
//!
//! Headers are looked for in the folders that `TENSORRT_INCLUDE_DIR` names (separated by `:`; each may
//! also be a folder of such folders), where Debian packages of JetPack put them, and in cargo's copy of
//! the crate `trtx-sys`, which carries those of TensorRT for RTX (`cross/tensorrt-headers`).

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SHIM: &str = "src/engine/tensorrt/shim";

/// (name, `PW_FAMILY`): versions whose classes are laid out alike.
const FAMILIES: [(&str, u32); 4] = [("trt8", 8), ("trt10", 10), ("trt11", 11), ("rtx", 1)];

/// A folder of headers: its family and (major, minor, patch).
fn inspect(folder: &Path) -> Option<(&'static str, [u32; 3])> {
    let text = fs::read_to_string(folder.join("NvInferVersion.h")).ok()?;
    if !folder.join("NvOnnxParser.h").exists() {
        return None;
    }
    let number = |names: &[&str]| {
        text.lines().find_map(|line| {
            let mut words = line.strip_prefix("#define ")?.split_whitespace();
            let name = words.next()?;
            names.contains(&name).then(|| words.next()?.parse::<u32>().ok()).flatten()
        })
    };
    let rtx = text.contains("TRT_MAJOR_RTX");
    let of = |part: &str| {
        let names = ["NV_TENSORRT", "TRT"].map(|start| format!("{start}_{part}"));
        let long = [format!("TRT_{part}_RTX"), format!("TRT_{part}_ENTERPRISE")];
        let all: Vec<&str> = names.iter().chain(&long).map(String::as_str).collect();
        number(&all)
    };
    let version = [of("MAJOR")?, of("MINOR")?, of("PATCH").unwrap_or(0)];
    let family = match version {
        // Classes of 1.4 are laid out otherwise.
        [1, (5..), _] if rtx => "rtx",
        [8, (5..), _] if !rtx => "trt8",
        [10, _, _] if !rtx => "trt10",
        [11, _, _] if !rtx => "trt11",
        _ => return None,
    };
    Some((family, version))
}

/// Folders that may hold headers.
fn candidates() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut with_children = |folder: PathBuf| {
        let children = fs::read_dir(&folder).into_iter().flatten().flatten().map(|e| e.path());
        found.extend(children.filter(|p| p.is_dir()));
        found.push(folder);
    };
    if let Some(named) = env::var_os("TENSORRT_INCLUDE_DIR") {
        env::split_paths(&named).for_each(&mut with_children);
        return found;
    }
    let architecture = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    with_children(PathBuf::from(format!("/usr/include/{architecture}-linux-gnu")));
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let registries = home.and_then(|home| fs::read_dir(home.join("registry/src")).ok());
    for registry in registries.into_iter().flatten().flatten() {
        let crates = fs::read_dir(registry.path()).into_iter().flatten().flatten();
        for folder in crates.filter(|e| e.file_name().to_string_lossy().starts_with("trtx-sys-")) {
            with_children(folder.path().join("TensorRT-Headers"));
        }
    }
    found
}

/// The shim, for one family.
fn compile(family: &str, number: u32, headers: &Path) -> Result<(), cc::Error> {
    let mut build = cc::Build::new();
    // Plain TensorRT's headers want CUDA's; ours has all that they need of it.
    build
        .cpp(true)
        .cpp_link_stdlib(None)
        .std("c++17")
        .opt_level(2)
        .pic(true)
        .flags(["-fno-exceptions", "-fno-rtti", "-fvisibility=hidden"])
        .flags(["-Wno-deprecated-declarations", "-Wno-unused-parameter"])
        .include(SHIM)
        .flag(format!("-isystem{}", headers.display()))
        .define("PW_FAMILY", number.to_string().as_str())
        .define("PW_API", format!("pw_api_{family}").as_str())
        .define("nvinfer1", format!("nvinfer1_{family}").as_str())
        .define("nvonnxparser", format!("nvonnxparser_{family}").as_str())
        .cargo_warnings(false)
        .file(format!("{SHIM}/shim.cpp"))
        .try_compile(&format!("posewire_{family}"))
}

fn support() -> Result<(), cc::Error> {
    cc::Build::new()
        .cpp(true)
        .cpp_link_stdlib(None)
        .std("c++17")
        .pic(true)
        .flags(["-fno-exceptions", "-fno-rtti", "-fvisibility=hidden"])
        .cargo_warnings(false)
        .file(format!("{SHIM}/support.cpp"))
        .try_compile("posewire_tensorrt_support")
}

/// Which commit is checked out: `POSEWIRE_GIT`, for `posewire bench`. Of release builds only, since
/// it makes the program be compiled anew after every commit.
fn commit() {
    if env::var("PROFILE").is_ok_and(|profile| profile != "release") {
        return;
    }
    let git = |args: &[&str]| {
        let out = Command::new("git").args(args).output().ok()?;
        let text = String::from_utf8(out.stdout).ok()?;
        out.status.success().then(|| text.trim().to_owned())
    };
    // Nothing outside of a checkout.
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return };
    println!("cargo::rustc-env=POSEWIRE_GIT={commit}");
    // HEAD's log grows with every commit and every checkout.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
}

fn main() {
    commit();
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={SHIM}");
    println!("cargo::rerun-if-env-changed=TENSORRT_INCLUDE_DIR");
    let names = FAMILIES.map(|(name, _)| format!("{name:?}")).join(", ");
    println!("cargo::rustc-check-cfg=cfg(tensorrt, values({names}))");

    // The oldest of each family: what it declares, the newer ones have.
    let mut oldest = BTreeMap::<&str, ([u32; 3], PathBuf)>::new();
    for folder in candidates() {
        let Some((family, version)) = inspect(&folder) else { continue };
        println!("cargo::rerun-if-changed={}", folder.join("NvInferVersion.h").display());
        if oldest.get(family).is_none_or(|(other, _)| version < *other) {
            oldest.insert(family, (version, folder));
        }
    }
    let mut told = Vec::new();
    for (family, number) in FAMILIES {
        let Some(([major, minor, patch], headers)) = oldest.get(family) else { continue };
        let version = format!("{family} (headers of {major}.{minor}.{patch})");
        match compile(family, number, headers) {
            Ok(()) => {
                println!("cargo::rustc-cfg=tensorrt=\"{family}\"");
                told.push(version);
            }
            Err(e) => {
                let line = e.to_string().lines().next().unwrap_or_default().to_owned();
                println!("cargo::warning=no TensorRT {version}: {line}");
            }
        }
    }
    if !told.is_empty()
        && let Err(e) = support()
    {
        println!("cargo::warning=TensorRT's shim cannot be linked: {e}");
    }
    println!("cargo::rustc-env=POSEWIRE_TENSORRT_FAMILIES={}", told.join(", "));
}
