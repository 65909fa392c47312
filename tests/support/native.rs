//! Sources of kernels, compiled for the processor: for tests, and for those within the library.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// `source`, a file of this repository, as `made`; false without a C++ compiler.
pub fn compile(source: &str, made: &Path, options: &[&str]) -> Result<bool, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let done = Command::new(std::env::var("CXX").unwrap_or_else(|_| "c++".into()))
        // Products and sums apart, as the kernels have them: on ARM a compiler makes one step of them.
        .args(["-std=c++14", "-O1", "-g", "-ffp-contract=off"])
        .args(options)
        .arg("-I")
        .arg(root.join("src/engine/tensorrt"))
        .arg(root.join(source))
        .arg("-o")
        .arg(made)
        .output();
    match done {
        Ok(done) if done.status.success() => Ok(true),
        Ok(done) => Err(format!("{source}: {}", String::from_utf8_lossy(&done.stderr))),
        Err(e) => {
            eprintln!("skipped: no C++ compiler ({e})");
            Ok(false)
        }
    }
}

/// The same with the compiler's own sanitizers, or without if it has none.
pub fn compile_watched(
    source: &str,
    made: &Path,
    options: &[&str],
    sanitizers: &str,
) -> Result<bool, String> {
    let watched = [&format!("-fsanitize={sanitizers}")[..], "-fno-sanitize-recover=undefined"];
    compile(source, made, &[options, &watched].concat()).or_else(|e| {
        eprintln!("without sanitizers: {e}");
        compile(source, made, options)
    })
}

/// The numbers that a program makes of `given`.
pub fn run(program: &Path, given: Vec<u8>) -> Vec<f32> {
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it was just compiled");
    let mut input = child.stdin.take().expect("it is piped");
    // Both pipes are smaller than what goes through them.
    let writer = std::thread::spawn(move || input.write_all(&given));
    let output = child.wait_with_output().expect("it was started");
    assert!(output.status.success(), "the kernel read or wrote beside its memory, or hangs");
    writer.join().expect("it only writes").expect("all is read");
    let (values, rest) = output.stdout.as_chunks::<4>();
    assert!(rest.is_empty());
    values.iter().map(|bytes| f32::from_ne_bytes(*bytes)).collect()
}
