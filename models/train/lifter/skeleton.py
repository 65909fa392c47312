"""Joint orders and bone tables shared by training, export and evaluation.

Input: COCO-17 (what 2D detectors give). Output: Human3.6M-17 (the order every P-STMO paper uses). The mocap file stores the 17
Human3.6M joints followed by five face points, from which COCO-17 is assembled.
"""

H36M17 = [
    "pelvis", "rhip", "rknee", "rankle", "lhip", "lknee", "lankle", "spine", "thorax", "nose", "head",
    "lshoulder", "lelbow", "lwrist", "rshoulder", "relbow", "rwrist",
]
COCO17 = [
    "nose", "leye", "reye", "lear", "rear", "lshoulder", "rshoulder", "lelbow", "relbow", "lwrist", "rwrist",
    "lhip", "rhip", "lknee", "rknee", "lankle", "rankle",
]
# Index of each COCO keypoint in the mocap file's 22 points.
COCO_FROM_MOCAP = [17, 18, 19, 20, 21, 11, 14, 12, 15, 13, 16, 4, 1, 5, 2, 6, 3]
# Parent of each of the 22 mocap points; -1 is the root. Parents precede children.
PARENT22 = [-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15, 9, 9, 9, 9, 9]
# Mirror partner of each of the 22 mocap points.
MIRROR22 = [0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13, 17, 19, 18, 21, 20]
# Bones of Human3.6M-17 as (parent, child); each has a left/right twin or is central.
BONES17 = [
    (0, 1), (1, 2), (2, 3), (0, 4), (4, 5), (5, 6), (0, 7), (7, 8), (8, 9), (9, 10),
    (8, 11), (11, 12), (12, 13), (8, 14), (14, 15), (15, 16),
]
# COCO's per-keypoint constants k_i (twice the annotators' standard deviation over sqrt(area)), cocoapi `cocoeval.py`.
COCO_K = [
    0.026 * 2, 0.025 * 2, 0.025 * 2, 0.035 * 2, 0.035 * 2, 0.079 * 2, 0.079 * 2, 0.072 * 2, 0.072 * 2,
    0.062 * 2, 0.062 * 2, 0.107 * 2, 0.107 * 2, 0.087 * 2, 0.087 * 2, 0.089 * 2, 0.089 * 2,
]
