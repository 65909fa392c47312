//! The rooms of posewire that the pixel paths are in: the same files.
#![allow(dead_code, missing_docs)]

#[path = "../../../src/decode/mod.rs"]
pub mod decode;
#[path = "../../../src/fault.rs"]
pub mod fault;
#[path = "../../../src/frame.rs"]
pub mod frame;
#[path = "../../../src/handoff/mod.rs"]
pub mod handoff;
#[path = "../../../src/pose.rs"]
pub mod pose;
#[path = "../../../src/skeleton.rs"]
pub mod skeleton;
#[path = "../../../src/time.rs"]
pub mod time;

pub mod engine;

pub mod detect;
