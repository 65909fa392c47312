// Persons in space and from above. Messages speak of the camera frame: x right, y down, z forward, metres.

import { H36M_BONES, colour, ink, sized } from "./skeleton.js";

const TRAIL_SECONDS = 6;
/** Who was not heard of for so long is gone, microseconds. */
const GONE_US = 1_000_000;
/** Where a person whose place is not known is drawn, metres before the camera. */
const UNKNOWN_PLACE = [0, 0, 3];

const add = (a, b) => [a[0] + b[0], a[1] + b[1], a[2] + b[2]];
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const unit = (a) => { const n = Math.hypot(...a) || 1; return a.map((v) => v / n); };

/** Everybody who is in view, with the places where they were. */
export class Crowd {
  constructor() {
    this.people = new Map();
    this.axes(null);
  }

  /** The room's axes: right, up and forward on the ground, from the direction in which things fall. */
  axes(gravity) {
    this.up = unit((gravity ?? [0, 1, 0]).map((v) => -v));
    this.right = unit(cross([0, 0, 1], this.up));
    this.forward = cross(this.up, this.right);
    this.floor ??= null;
  }

  /** Camera frame → right, up, forward. */
  room(point) {
    return [dot(point, this.right), dot(point, this.up), dot(point, this.forward)];
  }

  hear(message) {
    const now = message.lifted_us;
    for (const person of message.persons) {
      if (!person.joints || person.revision) continue;
      const known = person.root !== null;
      const root = known ? person.root : UNKNOWN_PLACE;
      const joints = {};
      for (const [name, [x, y, z, belief]] of Object.entries(person.joints)) {
        joints[name] = { at: this.room(add(root, [x, y, z])), belief };
      }
      const before = this.people.get(person.track);
      const trail = before?.trail ?? [];
      if (known) trail.push({ at: this.room(root), when: now });
      while (trail.length && now - trail[0].when > TRAIL_SECONDS * 1e6) trail.shift();
      this.people.set(person.track, { person, joints, trail, known, when: now });
      const feet = Math.min(joints.left_ankle.at[1], joints.right_ankle.at[1]);
      // An ankle is some 8 cm above the sole. The floor follows the lowest foot at once and rises slowly.
      const floor = feet - 0.08;
      if (known) this.floor = this.floor === null || floor < this.floor ? floor : this.floor + 0.004 * (floor - this.floor);
    }
    for (const [track, one] of this.people) if (now - one.when > GONE_US) this.people.delete(track);
  }
}

const START = { azimuth: 0.55, elevation: 0.22, distance: 4.6 };

export class Scene {
  constructor(canvas, crowd, redraw) {
    this.canvas = canvas;
    this.crowd = crowd;
    this.redraw = redraw;
    this.target = [0, 0, 3];
    this.look({ ...START });
    this.listen();
  }

  look(view) {
    Object.assign(this, view);
    this.redraw();
  }

  reset() { this.look({ ...START }); }

  turn(azimuth, elevation) {
    this.azimuth += azimuth;
    this.elevation = Math.max(-0.3, Math.min(1.5, this.elevation + elevation));
    this.redraw();
  }

  zoom(factor) {
    this.distance = Math.max(1.2, Math.min(25, this.distance * factor));
    this.redraw();
  }

  listen() {
    const { canvas } = this;
    const fingers = new Map();
    canvas.addEventListener("pointerdown", (e) => {
      canvas.setPointerCapture(e.pointerId);
      fingers.set(e.pointerId, [e.clientX, e.clientY]);
    });
    canvas.addEventListener("pointermove", (e) => {
      const last = fingers.get(e.pointerId);
      if (!last) return;
      const spread = () => { const [a, b] = [...fingers.values()]; return Math.hypot(a[0] - b[0], a[1] - b[1]) || 1; };
      const before = fingers.size === 2 ? spread() : 0;
      fingers.set(e.pointerId, [e.clientX, e.clientY]);
      if (before) this.zoom(before / spread());
      else this.turn((last[0] - e.clientX) * 0.008, (e.clientY - last[1]) * 0.006);
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (e) => fingers.delete(e.pointerId));
    canvas.addEventListener("wheel", (e) => { e.preventDefault(); this.zoom(Math.exp(e.deltaY * 0.001)); }, { passive: false });
    canvas.addEventListener("keydown", (e) => {
      const act = {
        ArrowLeft: () => this.turn(-0.1, 0), ArrowRight: () => this.turn(0.1, 0),
        ArrowUp: () => this.turn(0, 0.08), ArrowDown: () => this.turn(0, -0.08),
        "+": () => this.zoom(0.87), "=": () => this.zoom(0.87), "-": () => this.zoom(1.15), 0: () => this.reset(),
      }[e.key];
      if (act) { e.preventDefault(); act(); }
    });
  }

  draw() {
    const { context: c, width, height } = sized(this.canvas);
    const { people, floor } = this.crowd;
    const ground = floor ?? -1;
    const places = [...people.values()].map((one) => one.joints.pelvis.at);
    if (places.length) {
      const middle = [0, 1, 2].map((k) => places.reduce((sum, p) => sum + p[k], 0) / places.length);
      this.target = this.target.map((v, k) => v + 0.06 * (middle[k] - v));
    }
    // The eye looks at the target from a sphere around it; azimuth 0 is behind the camera.
    const [sa, ca, se, ce] = [Math.sin(this.azimuth), Math.cos(this.azimuth), Math.sin(this.elevation), Math.cos(this.elevation)];
    const ahead = [sa * ce, -se, ca * ce];
    const right = [ca, 0, -sa];
    const up = cross(ahead, right);
    const eye = this.target.map((v, k) => v - ahead[k] * this.distance);
    const focal = 1.25 * Math.min(width, height * 1.3);
    const project = (point) => {
      const d = point.map((v, k) => v - eye[k]);
      const depth = dot(d, ahead);
      return depth < 0.05 ? null : [width / 2 + focal * dot(d, right) / depth, height / 2 - focal * dot(d, up) / depth, depth];
    };
    const line = (a, b) => {
      const [p, q] = [project(a), project(b)];
      if (!p || !q) return;
      c.beginPath(); c.moveTo(p[0], p[1]); c.lineTo(q[0], q[1]); c.stroke();
    };

    // The floor: a grid of metres around the target.
    c.strokeStyle = ink("--line");
    c.lineWidth = 1;
    const [x0, z0] = [Math.round(this.target[0]), Math.round(this.target[2])];
    for (let i = -5; i <= 5; i++) {
      for (let j = -5; j < 5; j++) {
        line([x0 + i, ground, z0 + j], [x0 + i, ground, z0 + j + 1]);
        line([x0 + j, ground, z0 + i], [x0 + j + 1, ground, z0 + i]);
      }
    }
    this.camera(c, line, project);

    const strokes = [];
    for (const [track, one] of people) {
      c.lineWidth = 2;
      for (let i = 1; i < one.trail.length; i++) {
        const age = (one.when - one.trail[i].when) / (TRAIL_SECONDS * 1e6);
        c.strokeStyle = colour(track, 0.6 * (1 - age));
        const [p, q] = [one.trail[i - 1].at, one.trail[i].at];
        line([p[0], ground, p[2]], [q[0], ground, q[2]]);
      }
      for (const [a, b] of H36M_BONES) {
        const [p, q] = [one.joints[a], one.joints[b]];
        const [s, t] = [project(p.at), project(q.at)];
        if (s && t) strokes.push({ s, t, belief: Math.max(0.12, Math.min(p.belief, q.belief)), track, known: one.known });
      }
    }
    // What is nearer covers what is farther.
    strokes.sort((a, b) => b.s[2] + b.t[2] - a.s[2] - a.t[2]);
    c.lineCap = "round";
    for (const { s, t, belief, track, known } of strokes) {
      c.setLineDash(known ? [] : [3, 6]);
      c.lineWidth = Math.max(1.5, 0.045 * focal / ((s[2] + t[2]) / 2));
      c.strokeStyle = colour(track, belief);
      c.beginPath(); c.moveTo(s[0], s[1]); c.lineTo(t[0], t[1]); c.stroke();
    }
    c.setLineDash([]);
    c.font = "600 12px system-ui, sans-serif";
    c.textAlign = "center";
    for (const [track, one] of people) {
      const above = project(add(one.joints.head.at, [0, 0.16, 0]));
      if (!above) continue;
      c.fillStyle = colour(track);
      c.fillText(one.known ? `${track}` : `${track}, place unknown`, above[0], above[1]);
    }
    c.textAlign = "start";
  }

  /** The camera at the origin with its axes, half a metre each. */
  camera(c, line, project) {
    const axes = [["x", [0.5, 0, 0], "#d2483f"], ["y", [0, 0.5, 0], "#3f9d4b"], ["z", [0, 0, 0.5], "#3f78d2"]];
    c.font = "11px system-ui, sans-serif";
    for (const [name, end, paint] of axes) {
      const tip = this.crowd.room(end);
      c.strokeStyle = c.fillStyle = paint;
      c.lineWidth = 2;
      line([0, 0, 0], tip);
      const at = project(tip.map((v) => v * 1.12));
      if (at) c.fillText(name, at[0] - 3, at[1] + 3);
    }
  }
}

/** Where persons are and were, from above: the camera at the bottom, looking up. */
export class Map2d {
  constructor(canvas, crowd) {
    this.canvas = canvas;
    this.crowd = crowd;
    this.range = 4;
  }

  draw() {
    const { context: c, width, height } = sized(this.canvas);
    const { people } = this.crowd;
    const known = [...people].filter(([, one]) => one.known);
    const farthest = Math.max(3, ...known.map(([, one]) => Math.max(one.joints.pelvis.at[2], 1.4 * Math.abs(one.joints.pelvis.at[0]))));
    this.range += 0.08 * (farthest + 1 - this.range);
    const scale = (height - 24) / this.range;
    const at = (p) => [width / 2 + p[0] * scale, height - 14 - p[2] * scale];
    c.font = "11px system-ui, sans-serif";
    c.strokeStyle = ink("--line");
    c.fillStyle = ink("--faint");
    c.lineWidth = 1;
    for (let metres = 1; metres <= this.range; metres++) {
      c.beginPath(); c.arc(width / 2, height - 14, metres * scale, Math.PI, 0); c.stroke();
      c.fillText(`${metres}`, width / 2 + 4, height - 16 - metres * scale);
    }
    c.beginPath(); c.moveTo(width / 2 - 7, height - 4); c.lineTo(width / 2, height - 16); c.lineTo(width / 2 + 7, height - 4); c.closePath(); c.fill();
    for (const [track, one] of known) {
      c.lineWidth = 2;
      for (let i = 1; i < one.trail.length; i++) {
        const age = (one.when - one.trail[i].when) / (TRAIL_SECONDS * 1e6);
        c.strokeStyle = colour(track, 0.7 * (1 - age));
        const [p, q] = [at(one.trail[i - 1].at), at(one.trail[i].at)];
        c.beginPath(); c.moveTo(...p); c.lineTo(...q); c.stroke();
      }
      const [x, y] = at(one.joints.pelvis.at);
      c.fillStyle = colour(track);
      c.beginPath(); c.arc(x, y, 5, 0, 7); c.fill();
      c.fillText(`${track}`, x + 8, y + 4);
    }
  }
}
