// The page's one stream of events, and what becomes of them.

import { Picture } from "./picture.js";
import { Crowd, Map2d, Scene } from "./scene.js";
import { colour } from "./skeleton.js";
import { Strip } from "./strip.js";

const $ = (id) => document.getElementById(id);
const STAGE_NAMES = {
  wait: "waiting", decode: "decode", detect: "detect", lift: "lift", publish: "send", total: "capture to packet",
};

let crowd = new Crowd();
let camera = null;
let status = null;
let dirty = true;
let link = { name: "connecting", detail: "The page has not heard from posewire yet." };
const redraw = () => { dirty = true; };

const picture = new Picture($("picture"), $("picture-empty"));
const scene = new Scene($("scene"), crowd, redraw);
const map = new Map2d($("map"), crowd);
const strip = new Strip($("strip"));

function text(id, words) {
  if ($(id).textContent !== words) $(id).textContent = words;
}

function element(tag, words, className) {
  const made = document.createElement(tag);
  if (words !== undefined) made.textContent = words;
  if (className) made.className = className;
  return made;
}

/** Cameras are shown one at a time, the first one until another is chosen. */
function heardOf(number) {
  if (camera === null) camera = number;
  const choice = $("camera");
  if ([...choice.options].some((o) => Number(o.value) === number)) return;
  choice.append(new Option(`${number}`, number));
  $("camera-choice").hidden = choice.options.length < 2;
}

$("camera").addEventListener("change", (e) => {
  camera = Number(e.target.value);
  crowd = scene.crowd = map.crowd = new Crowd();
  crowd.axes(status?.about.cameras[camera]?.gravity ?? null);
  strip.frames = [];
  picture.clear();
  redraw();
});
$("view-front").addEventListener("click", () => scene.look({ azimuth: 0, elevation: 0, distance: 4.6 }));
$("view-side").addEventListener("click", () => scene.look({ azimuth: Math.PI / 2, elevation: 0.05, distance: 4.6 }));
$("view-free").addEventListener("click", () => scene.reset());
addEventListener("resize", () => { picture.draw(); redraw(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { picture.draw(); redraw(); });

function onPose(message) {
  heardOf(message.camera);
  if (message.camera !== camera) return;
  crowd.hear(message);
  strip.hear(message);
  text("persons", `${message.persons_in_frame}`);
  redraw();
}

function showPeople() {
  const rows = [...crowd.people.values()].map(({ person }) => {
    const row = element("tr");
    const id = element("td");
    const swatch = element("span", undefined, "swatch");
    swatch.style.background = colour(person.track);
    id.append(swatch, `${person.track}`);
    const spread = person.root_covariance && Math.sqrt(Math.max(0, person.root_covariance[0] + person.root_covariance[3] + person.root_covariance[5]));
    row.append(
      id,
      element("td", person.root ? person.root.map((v) => v.toFixed(2)).join(", ") : "unknown"),
      element("td", spread ? spread.toFixed(2) : "–"),
      element("td", person.plausibility === null ? "–" : person.plausibility.toFixed(2)),
    );
    return row;
  });
  $("people").replaceChildren(...rows);
}

/** What is known of a camera's lens and of how it is held: poses are as right as that is. */
function calibration({ lens, pitch_degrees: pitch }) {
  const angle = `${lens.fov_degrees.toFixed(1)}°`;
  const focal = lens.calibrated_at
    ? `calibrated at ${lens.calibrated_at.join("×")}, ${angle} wide, ± ${(100 * lens.focal_deviation).toFixed(1)} %`
    : `not calibrated: ${angle} assumed, ± ${(100 * lens.focal_deviation).toFixed(0)} %`;
  const held = pitch === null ? "unknown: taken to be level" : `looks ${pitch < 0 ? "down" : "up"} by ${Math.abs(pitch).toFixed(1)}°`;
  return [["lens", focal], ["camera", held]];
}

function showStatus() {
  const faults = [];
  if (link) faults.push({ ...link, count: 1, since: null });
  for (const fault of status?.faults ?? []) {
    faults.push({ name: fault.name, detail: fault.detail, count: fault.count, since: (status.sent_us - fault.since_us) / 1e6 });
  }
  const state = link ? (status?.state === "stopping" ? "stopping" : "lost") : status?.state ?? "waiting";
  $("state").dataset.state = state;
  text("state", { lost: "no connection", stopping: "stopped" }[state] ?? state);
  const lines = faults.map(({ name, detail, count, since }) => {
    const line = element("li");
    line.dataset.fault = name;
    line.append(element("b", name), detail);
    const more = [];
    if (since > 1) more.push(`since ${since < 120 ? `${since.toFixed(0)} s` : `${(since / 60).toFixed(0)} min`}`);
    if (count > 1) more.push(`${count} times`);
    if (more.length) line.append(element("small", more.join(", ")));
    return line;
  });
  // A live region is read out when it changes: it is left alone while it says the same.
  const words = lines.map((l) => l.dataset.fault + l.childNodes[1].textContent).join("\n");
  if (words !== showStatus.words || lines.length) $("faults").replaceChildren(...lines);
  showStatus.words = words;
  if (!status) return;
  text("fps", status.fps_out.toFixed(1));
  const total = status.stages.total;
  text("latency", total.p50_ms === null ? "–" : total.p50_ms.toFixed(1));
  text("latency99", total.p99_ms === null ? "" : `p99 ${total.p99_ms.toFixed(1)}`);
  const { about } = status;
  const models = Object.values(about.models).join(", ");
  text("engine", `${about.backend} ${about.precision}: ${models}`);
  $("engine").title = models;
  const shown = about.cameras[camera ?? 0];
  text("source", shown ? `${shown.name ? `${shown.name}: ` : ""}${shown.source}` : "–");
  const body = $("stages").tBodies[0];
  body.replaceChildren(...Object.entries(STAGE_NAMES).map(([key, name]) => {
    const row = element("tr");
    const ms = (v) => (v === null ? "–" : v < 10 ? v.toFixed(2) : v.toFixed(1));
    const stage = status.stages[key];
    row.append(element("td", name), element("td", ms(stage.p50_ms)), element("td", ms(stage.p99_ms)));
    return row;
  }));
  const counts = [
    ["frames in", status.frames_in], ["frames out", status.frames_out], ["displaced by newer ones", status.frames_displaced],
    ["missed by the source", status.frames_missed], ["damaged", status.frames_bad], ["up", `${status.uptime_s} s`],
    ["hottest zone", status.temperature_celsius === null ? "unknown" : `${status.temperature_celsius.toFixed(1)} °C`],
    ["viewers", status.viewers], ...(shown ? calibration(shown) : []),
  ];
  $("counts").replaceChildren(...counts.flatMap(([name, value]) => [element("dt", name), element("dd", `${value}`)]));
}

const stream = new EventSource("/api/events");
stream.addEventListener("status", (e) => {
  status = JSON.parse(e.data);
  link = status.state === "stopping"
    ? { name: "sensor-stopped", detail: "posewire has ended: its source is over, or it was stopped." }
    : null;
  crowd.axes(status.about.cameras[camera ?? 0]?.gravity ?? null);
  showStatus();
  showPeople();
});
stream.addEventListener("pose", (e) => onPose(JSON.parse(e.data)));
stream.addEventListener("picture", (e) => {
  const message = JSON.parse(e.data);
  heardOf(message.camera);
  if (message.camera === camera) picture.show(message);
});
stream.addEventListener("error", () => {
  link ??= { name: "connection-lost", detail: "The page no longer hears from posewire; it tries again by itself." };
  showStatus();
});

// Drawn at most once a refresh of the screen, and not at all in a hidden tab.
function frame() {
  if (dirty) {
    dirty = false;
    scene.draw();
    map.draw();
    strip.draw();
  }
  requestAnimationFrame(frame);
}
showStatus();
requestAnimationFrame(frame);
