//! The door to a distributed system that exists: Zenoh, which also carries ROS 2 (`docs/ros2.md`).
//! In builds with the feature `zenoh` only: it is 260 crates.

#[cfg(feature = "zenoh")]
mod door;

#[cfg(not(feature = "zenoh"))]
#[path = "disabled.rs"]
mod switch;
#[cfg(feature = "zenoh")]
#[path = "enabled.rs"]
mod switch;

pub(super) use switch::open;
