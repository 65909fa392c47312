//! The `[decoder]` of one-stage networks and of MoveNet, from the shapes of their outputs.

use super::{Interface, not_so, quoted};

/// The sizes of an output with one row or column of `values` for each of several candidates, if it
/// is one.
fn candidates(shape: &[usize], values: usize) -> Option<(bool, usize)> {
    match *shape {
        [1, rows, n] if rows == values => Some((false, n)),
        [1, n, columns] if columns == values => Some((true, n)),
        _ => None,
    }
}

/// How many candidates there are is not settled before there is a picture: sizes that depend on it
/// are 0 in an [`Interface`].
fn settled(n: usize, remedy: &str) -> Result<usize, String> {
    if n == 0 {
        return Err(format!(
            "gives as many persons as there are in the picture, and networks here have outputs of a \
             fixed size: {remedy}"
        ));
    }
    Ok(n)
}

/// Ultralytics' YOLO-pose: `[1, 56, N]`, or `[1, N, 57]` with the suppression in the network.
pub(super) fn yolo_pose(graph: &Interface) -> Result<String, String> {
    let remedy = "export it without suppression (nms=False), or with its fixed number of rows";
    for (name, shape) in &graph.outputs {
        let name = quoted(name);
        if let Some((false, n)) = candidates(shape, 56) {
            let n = settled(n, remedy)?;
            return Ok(format!(
                "type = \"yolo-pose\"\noutput = {name}\ncount = {n}\nscore_threshold = 0.3\n\
                 nms_iou = 0.7\n"
            ));
        }
        if let Some((true, n)) = candidates(shape, 57) {
            let n = settled(n, remedy)?;
            return Ok(format!(
                "type = \"yolo-pose-rows\"\noutput = {name}\ncount = {n}\nscore_threshold = 0.3\n\
                 nms_iou = 0.7\n"
            ));
        }
    }
    Err(not_so(graph, "[1, 56, N] or [1, N, 57] (one class, the 17 keypoints of COCO)"))
}

/// RTMO and YOLOX-Pose as MMDeploy exports them: `[1, N, 5]` and `[1, N, 17, 3]`.
pub(super) fn instances(graph: &Interface) -> Result<String, String> {
    let boxes = graph.outputs.iter().find(|(_, s)| matches!(s[..], [1, _, 5]));
    let points = graph.outputs.iter().find(|(_, s)| matches!(s[..], [1, _, 17, 3]));
    let (Some((dets, s)), Some((keypoints, of))) = (boxes, points) else {
        return Err(not_so(graph, "boxes [1, N, 5] and keypoints [1, N, 17, 3]"));
    };
    let n = settled(
        s[1].min(of[1]),
        "export it without its suppression (MMDeploy's NonMaxSuppression), or with the best \
         candidates by score, a fixed number of them, in its place; posewire suppresses itself",
    )?;
    if s[1] != of[1] {
        return Err(not_so(graph, "as many boxes [1, N, 5] as keypoints [1, N, 17, 3]"));
    }
    Ok(format!(
        "type = \"instances\"\ndets = {}\nkeypoints = {}\ncount = {n}\nscore_threshold = 0.3\n\
         nms_iou = 0.65\n",
        quoted(dets),
        quoted(keypoints)
    ))
}

/// MoveNet SinglePose: `[1, 1, 17, 3]`; `None` if it is another network.
pub(super) fn single_pose(graph: &Interface) -> Option<String> {
    let (name, _) = graph.outputs.iter().find(|(_, s)| s[..] == [1, 1, 17, 3])?;
    Some(format!("type = \"coordinates\"\nkeypoints = {}\nscore_threshold = 0.2\n", quoted(name)))
}

/// MoveNet MultiPose: `[1, N, 56]`, six persons.
pub(super) fn multi_pose(graph: &Interface) -> Result<String, String> {
    for (name, shape) in &graph.outputs {
        if let Some((true, n)) = candidates(shape, 56) {
            let n = settled(n, "export it with six rows, as its publisher does")?;
            return Ok(format!(
                "type = \"multi-pose\"\noutput = {}\ncount = {n}\nscore_threshold = 0.25\n\
                 nms_iou = 0.9\n",
                quoted(name)
            ));
        }
    }
    Err(not_so(graph, "[1, 1, 17, 3] (SinglePose) or [1, 6, 56] (MultiPose)"))
}
