//! Any text is a configuration that can be run, or an error that says why not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use posewire::config::Config;

fuzz_target!(|text: &str| {
    match Config::from_toml(text) {
        Ok(config) => {
            if let Err(e) = config.check() {
                assert!(!e.to_string().is_empty());
            }
        }
        Err(problem) => assert!(!problem.is_empty()),
    }
});
