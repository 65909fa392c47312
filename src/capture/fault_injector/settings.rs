//! Which faults, and how often.

/// What goes wrong, and how often.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultSettings {
    /// Share of frames that are lost.
    pub drop: f64,
    /// Share of frames that come twice.
    pub duplicate: f64,
    /// Share of frames that come late.
    pub late: f64,
    /// How late, milliseconds.
    pub late_ms: f64,
    /// Standard deviation of the stamps' error, milliseconds.
    pub jitter_ms: f64,
    /// Share of frames whose bytes are damaged.
    pub corrupt: f64,
    /// Share of frames that are reported as damaged.
    pub error: f64,
    /// Frames between freezes; 0: never.
    pub freeze_every: u64,
    /// How long one lasts, seconds.
    pub freeze_s: f64,
    /// Frames between disconnections; 0: never.
    pub unplug_every: u64,
    /// How long the device is away, seconds.
    pub unplug_s: f64,
    /// Which course of events.
    pub seed: u64,
}

impl Default for FaultSettings {
    fn default() -> Self {
        Self {
            drop: 0.0,
            duplicate: 0.0,
            late: 0.0,
            late_ms: 100.0,
            jitter_ms: 0.0,
            corrupt: 0.0,
            error: 0.0,
            freeze_every: 0,
            freeze_s: 3.0,
            unplug_every: 0,
            unplug_s: 3.0,
            seed: 1,
        }
    }
}

impl FaultSettings {
    /// Reads `drop=0.05,seed=7`.
    ///
    /// # Errors
    /// Names the setting that is not one, or its value.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut settings = Self::default();
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (key, value) =
                part.split_once('=').ok_or_else(|| format!("{part:?}: write SETTING=VALUE"))?;
            let number = |most: f64| {
                let wrong = || format!("{key}={value}: a number from 0 to {most} is wanted");
                value.parse().ok().filter(|v| (0.0..=most).contains(v)).ok_or_else(wrong)
            };
            let count =
                || value.parse().map_err(|_| format!("{key}={value}: a whole number is wanted"));
            match key {
                "drop" => settings.drop = number(1.0)?,
                "duplicate" => settings.duplicate = number(1.0)?,
                "late" => settings.late = number(1.0)?,
                "late_ms" => settings.late_ms = number(60_000.0)?,
                "jitter_ms" => settings.jitter_ms = number(10_000.0)?,
                "corrupt" => settings.corrupt = number(1.0)?,
                "error" => settings.error = number(1.0)?,
                "freeze_every" => settings.freeze_every = count()?,
                "freeze_s" => settings.freeze_s = number(3600.0)?,
                "unplug_every" => settings.unplug_every = count()?,
                "unplug_s" => settings.unplug_s = number(3600.0)?,
                "seed" => settings.seed = count()?,
                _ => {
                    return Err(format!(
                        "there is no fault {key:?}: drop, duplicate, late, late_ms, jitter_ms, \
                         corrupt, error, freeze_every, freeze_s, unplug_every, unplug_s, seed"
                    ));
                }
            }
        }
        Ok(settings)
    }
}
