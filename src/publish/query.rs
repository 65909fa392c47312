//! URIs of publishers that send over UDP: the keys that say how the network is used are common to
//! all, the others are each publisher's own.

use super::udp::UdpTarget;

/// Keys that every publisher over UDP understands.
const NETWORK: [&str; 3] = ["ttl", "interface", "dscp"];

/// A key and its value.
pub(super) type Pair<'a> = (&'a str, &'a str);

/// The pairs of a query.
pub(super) fn pairs(query: &str) -> impl Iterator<Item = Pair<'_>> {
    query.split('&').filter(|p| !p.is_empty()).map(|p| p.split_once('=').unwrap_or((p, "")))
}

/// Where `scheme` + `host:port?…` leads to, and those pairs of its query that are among `own`.
///
/// # Errors
/// What is wrong and what to write instead.
pub(super) fn udp_target<'a>(
    uri: &'a str,
    scheme: &str,
    own: &[&str],
) -> Result<(UdpTarget, Vec<Pair<'a>>), String> {
    let rest = uri.strip_prefix(scheme).ok_or_else(|| format!("write {scheme}host:port"))?;
    let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut mine = Vec::new();
    let mut network = Vec::new();
    for (key, value) in pairs(query) {
        if own.contains(&key) {
            mine.push((key, value));
        } else if NETWORK.contains(&key) {
            network.push(format!("{key}={value}"));
        } else {
            let known = [&NETWORK, own].concat().join(", ");
            return Err(format!("{key:?} is not known: use {known}"));
        }
    }
    let target = UdpTarget::parse(&format!("udp://{authority}?{}", network.join("&")))
        // What to write is this scheme, not the one that it is built on.
        .map_err(|problem| problem.replace("udp://", scheme))?;
    Ok((target, mine))
}

/// A number of a query.
///
/// # Errors
/// Says the range.
pub(super) fn number(
    key: &str,
    value: &str,
    range: std::ops::RangeInclusive<f64>,
) -> Result<f64, String> {
    value
        .parse()
        .ok()
        .filter(|v| range.contains(v))
        .ok_or_else(|| format!("{key} must be a number from {} to {}", range.start(), range.end()))
}
