//! **posewire**: a camera becomes a 3D human-pose sensor.
//!
//! A frame enters at the bottom of [`capture`], becomes 2D keypoints in [`detect`], keeps its
//! identity in [`track`], waits in a time-resampled window and is lifted to 3D in [`lift`], and
//! leaves as packets through [`publish`]. To follow that way in code, open three files:
//! `main.rs` (what can be asked), [`runtime`] (who runs, on which thread) and [`pipeline`]
//! (what happens to a frame).
//!
//! # Layers, from top to bottom
//!
//! | layer | rooms |
//! |---|---|
//! | what can be asked | [`cli`] |
//! | who runs | [`runtime`] (every thread and queue), [`service`] (signals), [`config`] |
//! | what happens to a frame | [`pipeline`]: no threads, no I/O; [`eval`]: how good the poses are; [`bench`](mod@bench): what they cost |
//! | stages | [`capture`], [`detect`], [`track`], [`lift`], [`publish`], [`record`], [`export`], [`view`] (the live page) |
//! | files | [`recording`]: MCAP; [`encode`]: JPEG; [`canvas`]: pictures of ours |
//! | machinery | [`engine`] (networks), [`wire`] (packets to bytes), [`decode`] (JPEG), [`calibration`] (lenses), [`download`] (HTTP), [`figure`] (the demo's human), [`frame`] (pixels) |
//! | ground | [`pose`], [`camera`], [`degrade`], [`fault`], [`geodetic`], [`metrics`], [`rotations`], [`skeleton`], [`time`], [`handoff`], [`orientation`], [`plot`], [`stats`], [`thermal`] |
//!
//! Dependencies point strictly downward and the rooms of one row never import each other;
//! `tests/layering.rs` reads the `use` lines and fails on any other arrow.
//!
//! # Conventions
//!
//! Pixels: x right, y down, the centre of the top-left pixel is (0, 0). Camera frame: x right,
//! y down, z forward, metres. Times are [`time::Timestamp`]s in nanoseconds; which clock they
//! belong to is [`frame::Timebase`].

pub mod cli;

pub mod config;
pub mod runtime;
pub mod service;

pub mod bench;
pub mod eval;
pub mod pipeline;

pub mod capture;
pub mod detect;
pub mod export;
pub mod lift;
pub mod publish;
pub mod record;
pub mod track;
pub mod view;

pub mod canvas;
pub mod encode;
pub mod recording;

pub mod calibration;
pub mod decode;
pub mod download;
pub mod engine;
pub mod figure;
pub mod wire;

pub mod frame;

pub mod camera;
pub mod degrade;
pub mod fault;
pub mod geodetic;
pub mod handoff;
pub mod memory;
pub mod metrics;
pub mod orientation;
pub mod plot;
pub mod pose;
pub mod rotations;
pub mod skeleton;
pub mod stats;
pub mod thermal;
pub mod time;
