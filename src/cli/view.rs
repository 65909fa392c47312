//! `--view`: the live page.

use std::net::SocketAddr;
use std::sync::Arc;

use clap::Args;

use super::Failure;
use super::start::Prepared;
use crate::config::{CameraPlan, Config, Plan};
use crate::lift::Mount;
use crate::pipeline::Geometry;
use crate::stats::Stats;
use crate::view::{About, AboutCamera, AboutLens, View, ViewError};

#[derive(Args, Clone, Debug, Default)]
pub(super) struct ViewArgs {
    /// Serve a live page: ADDRESS:PORT, or only a port of this machine's own (loopback) address;
    /// off: none. Addresses that others can reach need a token (docs/view.md)
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = parse)]
    view: Option<Page>,
}

/// Where the page is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Off,
    At(SocketAddr),
}

fn parse(text: &str) -> Result<Page, String> {
    if text == "off" {
        return Ok(Page::Off);
    }
    if let Ok(port) = text.parse::<u16>() {
        return Ok(Page::At(([127, 0, 0, 1], port).into()));
    }
    let address = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    address.as_deref().unwrap_or(text).parse().map(Page::At).map_err(|_| {
        "give an address and a port, 127.0.0.1:8080 or [::1]:8080, a port, or off".to_owned()
    })
}

impl ViewArgs {
    /// What the command line says goes before what the file says.
    pub(super) fn apply(&self, config: &mut Config) {
        match self.view {
            Some(Page::Off) => config.view.listen = None,
            Some(Page::At(address)) => config.view.listen = Some(address),
            None => {}
        }
    }

    /// True if nothing was said.
    pub(super) fn is_silent(&self) -> bool {
        self.view.is_none()
    }
}

/// The page of a plan, if it has one, and where it is, in words for the operator.
pub(super) fn open(
    plan: &Plan,
    prepared: &Prepared,
    stats: &Arc<Stats>,
) -> Result<Option<View>, Failure> {
    let Some(address) = plan.view.listen else { return Ok(None) };
    let models = &prepared.about.models;
    let about = About {
        cameras: plan
            .cameras
            .iter()
            .map(|camera| AboutCamera {
                name: camera.name.clone(),
                source: camera.source.clone(),
                gravity: camera.lift.mount.map(Mount::gravity),
                lens: lens(camera),
                pitch_degrees: camera.lift.mount.map(|mount| mount.pitch_degrees),
            })
            .collect(),
        models: models.iter().map(|m| (m.kind.clone(), m.name.clone())).collect(),
        options: prepared.options,
        clock: prepared.clock.clone(),
    };
    let open = |address| {
        View::open(address, plan.view.token_file.as_deref(), about.clone(), stats.clone())
    };
    let mut opened = open(address);
    if let (Err(ViewError::Bind { .. }), true) = (&opened, plan.view_may_move) {
        log::info!("view: {address} is taken: another port is used");
        opened = open(SocketAddr::new(address.ip(), 0));
    }
    let view = opened.map_err(|e| Failure::config(&e))?;
    match view.server.made_token() {
        // To the terminal and nowhere else.
        Some(token) => eprintln!("live page: {}?token={token}", view.server.link()),
        None => log::info!("live page: {}", view.server.link()),
    }
    Ok(Some(view))
}

fn lens(camera: &CameraPlan) -> AboutLens {
    let (calibrated_at, fov_degrees) = match camera.geometry {
        Geometry::Calibrated(lens) => (Some([lens.width, lens.height]), lens.fov_degrees()),
        Geometry::AssumedFov(degrees) => (None, degrees),
    };
    AboutLens { calibrated_at, fov_degrees, focal_deviation: camera.lift.focal_doubt }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_tells_a_measured_lens_from_an_assumed_one() {
        let of = |text: &str| {
            let plan = Config::from_toml(&format!("source.uri = \"demo:\"\n{text}")).unwrap();
            lens(&plan.check().unwrap().cameras[0])
        };
        let assumed = of("");
        assert_eq!((assumed.calibrated_at, assumed.fov_degrees), (None, 65.0));
        let measured =
            of("[camera.intrinsics]\nwidth = 640\nheight = 480\nfx = 320.0\nfy = 320.0\n\
             cx = 319.5\ncy = 239.5");
        assert_eq!(measured.calibrated_at, Some([640, 480]));
        assert!((measured.fov_degrees - 90.0).abs() < 1e-9);
        assert!(measured.focal_deviation < assumed.focal_deviation);
    }

    #[test]
    fn addresses_ports_and_off_are_understood() {
        let at = |text: &str| parse(text).unwrap();
        assert_eq!(at("off"), Page::Off);
        assert_eq!(at("8080"), Page::At(([127, 0, 0, 1], 8080).into()));
        assert_eq!(at("localhost:80"), Page::At(([127, 0, 0, 1], 80).into()));
        assert_eq!(at("0.0.0.0:1"), Page::At(([0, 0, 0, 0], 1).into()));
        assert!(matches!(at("[::1]:8080"), Page::At(SocketAddr::V6(_))));
        for wrong in ["", "here:80", "127.0.0.1", "70000"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
