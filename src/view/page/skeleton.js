// Which joints a bone joins, by the names that messages use, and how a person is coloured.

export const COCO_BONES = [
  ["left_ankle", "left_knee"], ["left_knee", "left_hip"], ["right_ankle", "right_knee"], ["right_knee", "right_hip"],
  ["left_hip", "right_hip"], ["left_shoulder", "left_hip"], ["right_shoulder", "right_hip"],
  ["left_shoulder", "right_shoulder"], ["left_shoulder", "left_elbow"], ["left_elbow", "left_wrist"],
  ["right_shoulder", "right_elbow"], ["right_elbow", "right_wrist"],
  ["nose", "left_eye"], ["nose", "right_eye"], ["left_eye", "left_ear"], ["right_eye", "right_ear"],
];

export const H36M_BONES = [
  ["pelvis", "right_hip"], ["right_hip", "right_knee"], ["right_knee", "right_ankle"],
  ["pelvis", "left_hip"], ["left_hip", "left_knee"], ["left_knee", "left_ankle"],
  ["pelvis", "spine"], ["spine", "thorax"], ["thorax", "neck"], ["neck", "head"],
  ["thorax", "left_shoulder"], ["left_shoulder", "left_elbow"], ["left_elbow", "left_wrist"],
  ["thorax", "right_shoulder"], ["right_shoulder", "right_elbow"], ["right_elbow", "right_wrist"],
];

const dark = matchMedia("(prefers-color-scheme: dark)");

/** A person's colour: the golden angle keeps neighbouring ids apart. */
export function colour(track, alpha = 1) {
  const hue = (160 + track * 137.508) % 360;
  return `hsl(${hue.toFixed(0)} 70% ${dark.matches ? 62 : 38}% / ${alpha.toFixed(3)})`;
}

/** A colour of the style sheet. */
export function ink(name) {
  const probe = getComputedStyle(document.documentElement);
  // light-dark() is resolved only where it is used as a colour.
  const holder = ink.holder ??= document.head.appendChild(document.createElement("meta"));
  holder.style.color = probe.getPropertyValue(name);
  return getComputedStyle(holder).color;
}

/** Sets a canvas to the size it is shown at; gives its context and size in CSS pixels. */
export function sized(canvas) {
  const ratio = Math.min(devicePixelRatio || 1, 2);
  const { clientWidth: width, clientHeight: height } = canvas;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}
