//! `posewire devices`.

use clap::{Args, ValueEnum};

use super::Failure;
use crate::capture::v4l2::list::{self, DeviceInfo, SizeInfo};

#[derive(Args)]
pub(super) struct Devices {
    /// How
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
    /// Nodes that give no pictures, too (metadata, outputs)
    #[arg(long)]
    all: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One JSON array
    Json,
}

pub(super) fn devices(args: &Devices) -> Result<(), Failure> {
    let mut found = list::list();
    if !args.all {
        // What could not be asked may be a camera.
        found.retain(|device| device.captures || device.problem.is_some());
    }
    match args.format {
        Format::Json => {
            let json = serde_json::to_string_pretty(&found);
            println!("{}", json.map_err(|e| Failure::new(crate::fault::Exit::Internal, &e))?);
        }
        Format::Text if found.is_empty() => {
            println!("no camera: no /dev/video* gives pictures here (is it plugged in? --all)");
        }
        Format::Text => found.iter().for_each(tell),
    }
    Ok(())
}

fn tell(device: &DeviceInfo) {
    let card = if device.card.is_empty() { "?" } else { &device.card };
    println!("{}: {card}", device.path.display());
    if let Some(problem) = &device.problem {
        println!("  {problem}");
    }
    for (what, value) in [("driver", &device.driver), ("bus", &device.bus)] {
        if !value.is_empty() {
            println!("  {what} {value}");
        }
    }
    if device.problem.is_none() && !device.captures {
        println!("  gives no pictures");
    }
    for uri in &device.uris {
        println!("  --source {uri}");
    }
    let planes = if device.multi_planar { ", multi-planar" } else { "" };
    for format in &device.formats {
        let read = if format.read { "" } else { " (not read by posewire)" };
        println!("  {} {}{planes}{read}", format.code, format.description);
        for size in &format.sizes {
            println!("    {}", line(size));
        }
    }
    for control in &device.controls {
        let name = &control.name;
        let value = control.value.map_or(String::new(), |value| format!(" = {value}"));
        let range = match (control.kind, control.menu.is_empty()) {
            (_, false) => {
                let menu = control.menu.iter().map(|(n, words)| format!("{n} {words}"));
                menu.collect::<Vec<_>>().join(", ")
            }
            ("integer", _) => format!("{} to {}", control.minimum, control.maximum),
            (kind, _) => kind.to_owned(),
        };
        let notes = match (control.read_only, control.inactive) {
            (true, _) => ", read-only",
            (_, true) => ", inactive: an automatic is on",
            _ => "",
        };
        println!("  control {name}{value} ({range}; default {}{notes})", control.default);
    }
    println!();
}

fn line(size: &SizeInfo) -> String {
    let SizeInfo { width, height, smallest, rates } = size;
    let from = smallest.map_or(String::new(), |(w, h)| format!("{w}x{h} to "));
    let rates: Vec<String> = rates.iter().map(|rate| format!("{rate:.4}")).collect();
    let rates: Vec<&str> =
        rates.iter().map(|rate| rate.trim_end_matches('0').trim_end_matches('.')).collect();
    let at = if rates.is_empty() { String::new() } else { format!(" at {} fps", rates.join(", ")) };
    format!("{from}{width}x{height}{at}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_rates_are_said_in_one_line() {
        let mut size = SizeInfo { width: 640, height: 480, smallest: None, rates: vec![30.0, 7.5] };
        assert_eq!(line(&size), "640x480 at 30, 7.5 fps");
        size.smallest = Some((16, 16));
        size.rates.clear();
        assert_eq!(line(&size), "16x16 to 640x480");
    }
}
