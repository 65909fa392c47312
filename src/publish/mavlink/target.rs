//! A `mavlink:` URI, understood.

use std::path::PathBuf;

use crate::publish::query::{number, pairs, udp_target};
use crate::publish::serial::port::SerialTarget;
use crate::publish::udp::UdpTarget;

/// What a `mavlink:` URI asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct MavlinkTarget {
    /// Through what.
    pub link: LinkTarget,
    /// As which vehicle.
    pub system: u8,
    /// As which part of it.
    pub component: u8,
    /// For whom TUNNEL messages are, system and component; 0 for all.
    pub to: (u8, u8),
    /// Sign with the key in this file.
    pub key: Option<PathBuf>,
    /// The link's number in signatures.
    pub link_id: u8,
    /// Which messages beside HEARTBEAT.
    pub messages: Messages,
    /// How far the camera looks up from the vehicle's own level, degrees.
    pub pitch_degrees: f64,
    /// How far it is turned to the right of the vehicle's front, degrees.
    pub yaw_degrees: f64,
}

/// Where frames go.
#[derive(Clone, Debug, PartialEq)]
pub enum LinkTarget {
    /// A socket.
    Udp(UdpTarget),
    /// A serial line.
    Serial(SerialTarget),
}

/// Messages that may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Messages {
    /// TUNNEL: the pose.
    pub tunnel: bool,
    /// FOLLOW_TARGET.
    pub follow: bool,
    /// LANDING_TARGET.
    pub landing: bool,
    /// OBSTACLE_DISTANCE.
    pub obstacle: bool,
}

const OWN: [&str; 8] = ["sysid", "compid", "target", "key", "link", "messages", "pitch", "yaw"];

impl MavlinkTarget {
    /// Understands `mavlink:udp://host:port?…` and `mavlink:serial:/dev/…?…`.
    ///
    /// # Errors
    /// What is wrong and what to write instead.
    pub fn parse(uri: &str) -> Result<Self, String> {
        const FORM: &str = "write mavlink:udp://host:port or mavlink:serial:/dev/NAME?baud=57600";
        let (link, own) = if uri.starts_with("mavlink:udp:") {
            let (target, own) = udp_target(uri, "mavlink:udp://", &OWN)?;
            (LinkTarget::Udp(target), own)
        } else if let Some(rest) = uri.strip_prefix("mavlink:serial:") {
            let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
            let (own, line): (Vec<_>, Vec<_>) =
                pairs(query).partition(|(key, _)| OWN.contains(key));
            if let Some((key, _)) = line.iter().find(|(key, _)| !["baud", "flow"].contains(key)) {
                return Err(format!("{key:?} is not known: use baud, flow, {}", OWN.join(", ")));
            }
            // What telemetry ports of autopilots are set to where nothing else is said.
            let mut plain = format!("serial:{path}?baud=57600");
            for (key, value) in line {
                plain += &format!("&{key}={value}");
            }
            (LinkTarget::Serial(SerialTarget::parse(&plain)?), own)
        } else {
            return Err(FORM.into());
        };
        let mut target = Self {
            link,
            system: 1,
            component: 191,
            to: (0, 0),
            key: None,
            link_id: 0,
            messages: Messages { tunnel: true, follow: true, landing: false, obstacle: false },
            pitch_degrees: 0.0,
            yaw_degrees: 0.0,
        };
        for (key, value) in own {
            target.set(key, value)?;
        }
        Ok(target)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let id = |value: &str, least: u8| value.parse().ok().filter(|&v: &u8| v >= least);
        match key {
            "sysid" => self.system = id(value, 1).ok_or("sysid must be from 1 to 255")?,
            "compid" => self.component = id(value, 1).ok_or("compid must be from 1 to 255")?,
            "link" => self.link_id = id(value, 0).ok_or("link must be from 0 to 255")?,
            "target" => {
                let (system, component) = value.split_once('.').unwrap_or((value, "0"));
                self.to = id(system, 0)
                    .zip(id(component, 0))
                    .ok_or("target must be SYSTEM or SYSTEM.COMPONENT, each from 0 to 255")?;
            }
            "key" if !value.is_empty() => self.key = Some(value.into()),
            "key" => return Err("key must be the path of a key file".into()),
            "pitch" => self.pitch_degrees = number(key, value, -90.0..=90.0)?,
            "yaw" => self.yaw_degrees = number(key, value, -180.0..=180.0)?,
            _ => self.messages = Messages::parse(value)?,
        }
        Ok(())
    }
}

impl Messages {
    fn parse(list: &str) -> Result<Self, String> {
        let mut messages = Self { tunnel: false, follow: false, landing: false, obstacle: false };
        for name in list.split(',') {
            match name {
                "tunnel" => messages.tunnel = true,
                "follow" => messages.follow = true,
                "landing" => messages.landing = true,
                "obstacle" => messages.obstacle = true,
                _ => {
                    return Err(format!(
                        "messages={name:?} is not known: list some of tunnel, follow, landing, \
                         obstacle, with commas"
                    ));
                }
            }
        }
        Ok(messages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_with_everything_is_understood() {
        let uri = "mavlink:udp://127.0.0.1:14550?sysid=7&compid=158&target=1.1&key=/k&link=2\
                   &messages=obstacle,landing&pitch=-30&yaw=90&ttl=3";
        let target = MavlinkTarget::parse(uri).unwrap();
        assert_eq!((target.system, target.component, target.to), (7, 158, (1, 1)));
        assert_eq!((target.key, target.link_id), (Some("/k".into()), 2));
        let messages = Messages { tunnel: false, follow: false, landing: true, obstacle: true };
        assert_eq!(target.messages, messages);
        assert_eq!((target.pitch_degrees, target.yaw_degrees), (-30.0, 90.0));
        assert!(matches!(target.link, LinkTarget::Udp(udp) if udp.ttl == Some(3)));
        let line = MavlinkTarget::parse("mavlink:serial:/dev/ttyACM0?baud=921600&sysid=3").unwrap();
        let LinkTarget::Serial(serial) = line.link else { panic!() };
        assert_eq!((serial.path.as_str(), serial.baud), ("/dev/ttyACM0", 921_600));
        let plain = MavlinkTarget::parse("mavlink:serial:/dev/ttyACM0").unwrap();
        assert!(matches!(plain.link, LinkTarget::Serial(s) if s.baud == 57_600));
    }

    #[test]
    fn each_unusable_uri_says_what_to_write_instead() {
        for (uri, words) in [
            ("mavlink:tcp://127.0.0.1:1", "mavlink:udp://host:port"),
            ("mavlink:udp://127.0.0.1", "mavlink:udp://host:port"),
            ("mavlink:udp://127.0.0.1:1?sysid=0", "1 to 255"),
            ("mavlink:udp://127.0.0.1:1?target=1.x", "SYSTEM.COMPONENT"),
            ("mavlink:udp://127.0.0.1:1?messages=follow,me", "tunnel, follow, landing"),
            ("mavlink:udp://127.0.0.1:1?baud=9600", "not known"),
            ("mavlink:udp://127.0.0.1:1?pitch=north", "-90 to 90"),
            ("mavlink:udp://127.0.0.1:1?key=", "key file"),
            ("mavlink:serial:ttyACM0", "/dev/serial/by-id"),
            ("mavlink:serial:/dev/ttyACM0?format=full", "not known"),
            ("mavlink:serial:/dev/ttyACM0?baud=1", "from 300"),
        ] {
            let problem = MavlinkTarget::parse(uri).unwrap_err();
            assert!(problem.contains(words), "{uri}: {problem}");
        }
    }
}
