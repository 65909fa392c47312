//! A Zenoh session, as far as posewire needs one: keys and bytes.

use zenoh::pubsub::Publisher;
use zenoh::{Config, Session, Wait};

/// An open session with its declared keys.
pub struct Door {
    session: Session,
    keys: Vec<(String, Publisher<'static>)>,
}

impl Door {
    /// Opens a session in the given mode (`peer`, `client` or `router`). With an endpoint such as
    /// `tcp/192.168.1.5:7447` it connects to that alone, now or when it is there; otherwise it
    /// looks for others on the local network.
    ///
    /// # Errors
    /// What Zenoh says.
    pub fn open(mode: &str, connect: &[&str], listen: &[&str]) -> Result<Self, String> {
        let mut config = Config::default();
        let list = |endpoints: &[&str]| {
            let quoted: Vec<_> = endpoints.iter().map(|e| format!("{e:?}")).collect();
            format!("[{}]", quoted.join(","))
        };
        let alone = !(connect.is_empty() && listen.is_empty());
        let mut set = |key: &str, value: &str| {
            config.insert_json5(key, value).map_err(|e| format!("{key} = {value}: {e}"))
        };
        set("mode", &format!("{mode:?}"))?;
        if alone {
            set("scouting/multicast/enabled", "false")?;
            set("connect/endpoints", &list(connect))?;
            set("listen/endpoints", &list(listen))?;
        }
        let session = zenoh::open(config).wait().map_err(|e| e.to_string())?;
        Ok(Self { session, keys: Vec::new() })
    }

    /// Publishes bytes on a key. The first time the key is declared.
    ///
    /// # Errors
    /// What Zenoh says.
    pub fn put(&mut self, key: &str, bytes: &[u8]) -> Result<(), String> {
        let known = self.keys.iter().position(|(k, _)| k == key);
        let index = match known {
            Some(index) => index,
            None => {
                let declared = self.session.declare_publisher(key.to_owned()).wait();
                self.keys.push((key.to_owned(), declared.map_err(|e| e.to_string())?));
                self.keys.len() - 1
            }
        };
        match self.keys.get(index) {
            Some((_, publisher)) => publisher.put(bytes).wait().map_err(|e| e.to_string()),
            None => Ok(()),
        }
    }

    /// Ends the session; what was put has been handed to the network.
    ///
    /// # Errors
    /// What Zenoh says.
    pub fn close(&mut self) -> Result<(), String> {
        self.keys.clear();
        self.session.close().wait().map_err(|e| e.to_string())
    }
}
