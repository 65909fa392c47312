//! The `[decoder]` of top-down networks, from the shapes of their outputs.

use super::{Interface, not_so, quoted};

/// Two vectors per keypoint.
pub(super) fn simcc(graph: &Interface) -> Result<String, String> {
    let (w, h) = (graph.width, graph.height);
    let not_so = |wanted: &str| not_so(graph, wanted);
    // Two outputs [1, 17, n]: the shorter one is that of the shorter side.
    let [(a, sa), (b, sb)] = graph.outputs.as_slice() else {
        return Err(not_so("two outputs [1, 17, bins]"));
    };
    let (&[1, 17, na], &[1, 17, nb]) = (sa.as_slice(), sb.as_slice()) else {
        return Err(not_so("two outputs [1, 17, bins]"));
    };
    let fits = |x: usize, y: usize| x * h == y * w;
    let (x, y, bins) = match (fits(na, nb), fits(nb, na)) {
        (true, _) => (a, b, na),
        (_, true) => (b, a, nb),
        _ => return Err(not_so(&format!("bins in the ratio of {w} to {h}"))),
    };
    Ok(format!(
        "type = \"simcc\"\nx = {}\ny = {}\nsplit_ratio = {:?}\n\
         score_threshold = 0.3\n",
        quoted(x),
        quoted(y),
        bins as f64 / w as f64
    ))
}

/// One map per keypoint, blurred over `blur` cells before its peak is refined.
pub(super) fn heatmap(graph: &Interface, blur: usize) -> Result<String, String> {
    let (w, h) = (graph.width, graph.height);
    let not_so = |wanted: &str| not_so(graph, wanted);
    let maps = graph.outputs.iter().find_map(|(name, shape)| match shape.as_slice() {
        &[1, 17, mh, mw] if mh > 0 && h % mh == 0 && w == h / mh * mw => Some((name, h / mh)),
        _ => None,
    });
    let Some((name, stride)) = maps else {
        return Err(not_so(&format!("heatmaps [1, 17, {h} / s, {w} / s]")));
    };
    // Both frameworks count cells and pixels from their centres: cell i is pixel s * i.
    Ok(format!(
        "type = \"heatmap\"\nheatmaps = {}\nstride = {stride}\nrefine = \
         \"dark\"\nblur = {blur}\ncell_offset = {:?}\nscore_threshold = 0.3\n",
        quoted(name),
        0.5 / stride as f64
    ))
}

/// Per stride a map of scores and one of distances.
pub(super) fn anchor_free(graph: &Interface) -> Result<String, String> {
    let (w, h) = (graph.width, graph.height);
    let not_so = |wanted: &str| not_so(graph, wanted);
    let mut levels: Vec<(usize, Option<&str>, Option<&str>)> = Vec::new();
    for (name, shape) in &graph.outputs {
        let &[1, c @ (1 | 4), mh, mw] = shape.as_slice() else { continue };
        if mh == 0 || !h.is_multiple_of(mh) || w != h / mh * mw {
            continue;
        }
        let stride = h / mh;
        let k = levels.iter().position(|l| l.0 == stride).unwrap_or_else(|| {
            levels.push((stride, None, None));
            levels.len() - 1
        });
        let slot = if c == 1 { &mut levels[k].1 } else { &mut levels[k].2 };
        *slot = Some(name);
    }
    levels.sort_unstable_by_key(|l| l.0);
    let complete: Option<Vec<_>> = levels
        .iter()
        .map(|(s, a, b)| Some((s.to_string(), quoted((*a)?), quoted((*b)?))))
        .collect();
    let Some(levels) = complete.filter(|l| !l.is_empty()) else {
        return Err(not_so(
            "per stride one map of scores [1, 1, h, w] and one of distances [1, 4, h, w]",
        ));
    };
    let list = |f: fn(&(String, String, String)) -> &String| {
        levels.iter().map(|l| f(l).as_str()).collect::<Vec<_>>().join(", ")
    };
    Ok(format!(
        "type = \"anchor-free\"\nstrides = [{}]\nscores = [{}]\nboxes = [{}]\n\
         distances = \"pixels\"\nactivation = \"sigmoid\"\ncell_offset = 0.0\n\
         score_threshold = 0.3\nnms_iou = 0.6\n",
        list(|l| &l.0),
        list(|l| &l.1),
        list(|l| &l.2)
    ))
}
