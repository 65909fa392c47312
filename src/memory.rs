//! This machine's memory, as the kernel tells it.

/// What can be taken without swapping, KiB; `meminfo` is the text of `/proc/meminfo`. `None`: it
/// is not told.
#[must_use]
pub fn available_kib(meminfo: &str) -> Option<u64> {
    let rest = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_available_is_read_where_it_is_told() {
        let text = "MemTotal:        4000000 kB\nMemAvailable:     200000 kB\n";
        assert_eq!(available_kib(text), Some(200_000));
        for text in ["", "MemFree: 7 kB", "MemAvailable:", "MemAvailable: much kB"] {
            assert_eq!(available_kib(text), None, "{text:?}");
        }
    }
}
