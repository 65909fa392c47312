//! A camera's controls (exposure, gain, white balance, focus, power-line frequency), by name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::abi::{Call, ControlDescription, ControlNumber, MenuItem, text};
use super::sys::Device;

const NEXT: u32 = 0x8000_0000;
const FLAG_DISABLED: u32 = 0x1;
const FLAG_GRABBED: u32 = 0x2;
const FLAG_READ_ONLY: u32 = 0x4;
const FLAG_INACTIVE: u32 = 0x10;

const KIND_INTEGER: u32 = 1;
const KIND_BOOLEAN: u32 = 2;
const KIND_MENU: u32 = 3;
const KIND_BUTTON: u32 = 4;
const KIND_INTEGER_MENU: u32 = 9;

/// `V4L2_CID_EXPOSURE_AUTO`, its value for "manual", and `V4L2_CID_EXPOSURE_ABSOLUTE` (in units of
/// 100 µs).
const EXPOSURE_AUTO: u32 = 0x009a_0901;
const EXPOSURE_MANUAL: i32 = 1;
const EXPOSURE_ABSOLUTE: u32 = 0x009a_0902;

/// What a control is set to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ControlValue {
    /// On or off.
    Switch(bool),
    /// A number, also of a menu's entry.
    Number(i32),
    /// A menu's entry by its words.
    Word(String),
}

/// What a camera's controls are set to, at every opening. Names are those that `posewire devices`
/// prints: the driver's in lower case with underscores. What cannot be set is said once, however
/// often the camera is opened again.
#[derive(Clone, Debug, Default)]
pub struct Controls(Option<Arc<Wanted>>);

#[derive(Debug)]
struct Wanted {
    values: BTreeMap<String, ControlValue>,
    told: Mutex<BTreeSet<String>>,
}

impl PartialEq for Controls {
    fn eq(&self, other: &Self) -> bool {
        let values = |c: &Self| c.0.as_ref().map(|wanted| wanted.values.clone());
        values(self) == values(other)
    }
}

impl From<BTreeMap<String, ControlValue>> for Controls {
    fn from(values: BTreeMap<String, ControlValue>) -> Self {
        if values.is_empty() {
            return Self::NONE;
        }
        Self(Some(Arc::new(Wanted { values, told: Mutex::default() })))
    }
}

/// One control of a camera, as `posewire devices` shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ControlInfo {
    /// What to write in the configuration.
    pub name: String,
    /// `integer`, `boolean`, `menu`, `button` or `other`.
    pub kind: &'static str,
    /// Smallest value.
    pub minimum: i32,
    /// Largest value.
    pub maximum: i32,
    /// Between values.
    pub step: i32,
    /// As it leaves the factory.
    pub default: i32,
    /// As it is now, where it can be read.
    pub value: Option<i32>,
    /// It cannot be set.
    pub read_only: bool,
    /// It has no effect now, because another one (an automatic) has taken over.
    pub inactive: bool,
    /// A menu's entries.
    pub menu: Vec<(i32, String)>,
}

/// A driver's name as `v4l2-ctl` and we write it: `White Balance, Automatic` is
/// `white_balance_automatic`.
fn plain(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("_").to_ascii_lowercase()
}

/// All controls of a device that a number can be written to.
fn descriptions(device: &mut Device) -> Vec<(String, ControlDescription)> {
    let mut all = Vec::new();
    let mut id = NEXT;
    // A driver that never ends would be a driver's mistake.
    for _ in 0..1000 {
        let mut d = ControlDescription { id, ..ControlDescription::default() };
        if device.call(Call::QueryControl(&mut d)).is_err() {
            break;
        }
        id = d.id | NEXT;
        let known = matches!(
            d.kind,
            KIND_INTEGER | KIND_BOOLEAN | KIND_MENU | KIND_BUTTON | KIND_INTEGER_MENU
        );
        if known && d.flags & FLAG_DISABLED == 0 {
            all.push((plain(&text(&d.name)), d));
        }
    }
    all
}

fn menu(device: &mut Device, d: &ControlDescription) -> Vec<(i32, String)> {
    if !matches!(d.kind, KIND_MENU | KIND_INTEGER_MENU) {
        return Vec::new();
    }
    let mut entries = Vec::new();
    for index in d.minimum.max(0)..=d.maximum.min(d.minimum.saturating_add(255)) {
        let mut item = MenuItem { id: d.id, index: index as u32, ..MenuItem::default() };
        // Menus have holes.
        if device.call(Call::QueryMenu(&mut item)).is_ok() {
            let mut value = [0; 8];
            value.copy_from_slice(&item.name[..8]);
            let words = if d.kind == KIND_MENU {
                text(&item.name)
            } else {
                i64::from_ne_bytes(value).to_string()
            };
            entries.push((index, words));
        }
    }
    entries
}

fn read(device: &mut Device, id: u32) -> Option<i32> {
    let mut number = ControlNumber { id, value: 0 };
    device.call(Call::GetControl(&mut number)).ok().map(|()| number.value)
}

/// What controls a device has.
pub(super) fn list(device: &mut Device) -> Vec<ControlInfo> {
    descriptions(device)
        .into_iter()
        .map(|(name, d)| ControlInfo {
            name,
            kind: match d.kind {
                KIND_INTEGER => "integer",
                KIND_BOOLEAN => "boolean",
                KIND_MENU | KIND_INTEGER_MENU => "menu",
                KIND_BUTTON => "button",
                _ => "other",
            },
            minimum: d.minimum,
            maximum: d.maximum,
            step: d.step,
            default: d.default_value,
            value: read(device, d.id),
            read_only: d.flags & FLAG_READ_ONLY != 0,
            inactive: d.flags & FLAG_INACTIVE != 0,
            menu: menu(device, &d),
        })
        .collect()
}

/// How long the sensor is exposed, in seconds, where that is set by hand.
pub(super) fn exposure(device: &mut Device) -> Option<f64> {
    let manual = read(device, EXPOSURE_AUTO)? == EXPOSURE_MANUAL;
    let units = read(device, EXPOSURE_ABSOLUTE).filter(|units| *units > 0)?;
    manual.then(|| f64::from(units) * 1e-4)
}

impl Controls {
    /// As they are.
    pub const NONE: Self = Self(None);

    /// Sets the controls of a device. `uri` is for the log.
    pub(super) fn apply(&self, uri: &str, device: &mut Device) {
        let Some(wanted) = &self.0 else { return };
        let known = descriptions(device);
        let mut later = Vec::new();
        // Switches and menus first: most numbers have no effect before their automatic is off.
        let is_number =
            |name: &String| known.iter().any(|(n, d)| n == name && d.kind == KIND_INTEGER);
        let (numbers, switches): (Vec<_>, Vec<_>) =
            wanted.values.iter().partition(|(name, _)| is_number(name));
        for (name, value) in switches.into_iter().chain(numbers) {
            match set(device, &known, name, value) {
                Ok(()) => log::debug!("{uri}: {name} = {value:?}"),
                Err(problem) => later.push((name, value, problem)),
            }
        }
        // Once more, with what the others have changed.
        for (name, value, _) in later {
            if let Err(problem) = set(device, &known, name, value) {
                wanted.tell(uri, name, &problem);
            }
        }
    }
}

impl Wanted {
    /// Says a problem once.
    fn tell(&self, uri: &str, name: &str, problem: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.insert(format!("{name}: {problem}")) {
            log::warn!("{uri}: control {name}: {problem}");
        }
    }
}

fn set(
    device: &mut Device,
    known: &[(String, ControlDescription)],
    name: &str,
    value: &ControlValue,
) -> Result<(), String> {
    let Some((_, d)) = known.iter().find(|(known, _)| known == name) else {
        let names: Vec<_> = known.iter().map(|(name, _)| name.as_str()).collect();
        return Err(format!("the camera has none of this name; it has: {}", names.join(", ")));
    };
    if d.flags & FLAG_READ_ONLY != 0 {
        return Err("it can only be read".into());
    }
    let number = match value {
        ControlValue::Switch(on) => i32::from(*on),
        ControlValue::Number(number) => *number,
        ControlValue::Word(word) => {
            let entries = menu(device, d);
            let found = entries.iter().find(|(_, words)| plain(words) == plain(word));
            let Some((index, _)) = found else {
                let all: Vec<_> = entries.iter().map(|(_, words)| words.as_str()).collect();
                return Err(format!("no {word:?}; there are: {}", all.join(", ")));
            };
            *index
        }
    };
    if d.kind != KIND_BUTTON && !(d.minimum..=d.maximum).contains(&number) {
        return Err(format!("{number} is not from {} to {}", d.minimum, d.maximum));
    }
    // Flags as they are now: an automatic may have been switched off since.
    let mut now = ControlDescription { id: d.id, ..ControlDescription::default() };
    let flags = device.call(Call::QueryControl(&mut now)).map_or(d.flags, |()| now.flags);
    if flags & FLAG_INACTIVE != 0 {
        return Err("an automatic is on that overrides it: switch that off by its own name".into());
    }
    if flags & FLAG_GRABBED != 0 {
        return Err("another program has taken hold of it".into());
    }
    let mut wanted = ControlNumber { id: d.id, value: number };
    device
        .call(Call::SetControl(&mut wanted))
        .map_err(|e| format!("cannot be set to {number}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::v4l2::double::Bench;

    fn controls(toml: &str) -> Controls {
        let wanted: BTreeMap<String, ControlValue> = toml::from_str(toml).unwrap();
        wanted.into()
    }

    fn told(controls: &Controls) -> Vec<String> {
        controls.0.as_ref().unwrap().told.lock().unwrap().iter().cloned().collect()
    }

    #[test]
    fn numbers_switches_and_words_are_set_and_the_automatic_goes_first() {
        let bench = Bench::new();
        let mut device = bench.device().unwrap();
        let wanted = controls(
            "exposure_time_absolute = 250\nauto_exposure = 'Manual Mode'\ngain = 7\n\
             white_balance_automatic = false",
        );
        wanted.apply("test", &mut device);
        let values: BTreeMap<_, _> =
            list(&mut device).into_iter().map(|c| (c.name, c.value)).collect();
        assert_eq!(values["auto_exposure"], Some(1));
        assert_eq!(values["exposure_time_absolute"], Some(250));
        assert_eq!(values["gain"], Some(7));
        assert_eq!(values["white_balance_automatic"], Some(0));
        assert_eq!(exposure(&mut device), Some(0.025));
        assert!(told(&wanted).is_empty());
    }

    #[test]
    fn what_cannot_be_set_is_said_once_also_after_a_replug() {
        let bench = Bench::new();
        let wanted = controls("zoom = 3\nbrand = 1\ngain = 4000\nauto_exposure = 'Bright'");
        for _ in 0..3 {
            wanted.apply("test", &mut bench.device().unwrap());
            bench.unplug();
            bench.plug();
        }
        let told = told(&wanted);
        assert_eq!(told.len(), 4, "{told:?}");
        assert!(told[0].contains("Manual Mode"), "{told:?}");
        assert!(told[1].contains("only be read"), "{told:?}");
        assert!(told[2].contains("from 0 to 100"), "{told:?}");
        assert!(told[3].contains("auto_exposure"), "{told:?}");
    }

    #[test]
    fn a_number_that_an_automatic_overrides_is_not_silently_without_effect() {
        let bench = Bench::new();
        let wanted = controls("exposure_time_absolute = 250");
        wanted.apply("test", &mut bench.device().unwrap());
        let told = told(&wanted);
        assert!(told.iter().any(|t| t.contains("automatic")), "{told:?}");
    }
}
