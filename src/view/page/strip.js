// How long each frame took, by stage: one thin column a frame, the newest at the right.

import { ink, sized } from "./skeleton.js";

const SECONDS = 20;
/** Stages in the order of the way, with the stamps that they end with. */
const STAGES = [
  ["capture", "dequeued_us", "#8a97a0"], ["decode", "decoded_us", "#b08bd6"], ["detect", "detected_us", "#4a90d9"],
  ["lift", "lifted_us", "#19a37c"], ["to this page", "sent_us", "#e0a03c"],
];

export class Strip {
  constructor(canvas) {
    this.canvas = canvas;
    this.frames = [];
  }

  hear(message) {
    // A recording's own clock cannot be compared with ours: its frames begin when they were read.
    const begin = message.media_time ? message.dequeued_us : message.captured_us;
    const ends = STAGES.map(([, stamp]) => Math.max(0, message[stamp] - begin) / 1e3);
    this.frames.push({ at: message.sent_us, ends });
    while (this.frames.length && message.sent_us - this.frames[0].at > SECONDS * 1e6) this.frames.shift();
  }

  draw() {
    const { context: c, width, height } = sized(this.canvas);
    const newest = this.frames.at(-1)?.at ?? 0;
    const worst = Math.max(20, ...this.frames.map((f) => f.ends.at(-1)));
    const ceiling = 10 * Math.ceil(worst / 9);
    const [top, bottom] = [18, height - 4];
    const y = (ms) => bottom - (bottom - top) * Math.min(1, ms / ceiling);
    c.font = "11px system-ui, sans-serif";
    c.fillStyle = ink("--faint");
    c.strokeStyle = ink("--line");
    for (const share of [0.5, 1]) {
      const at = Math.round(y(ceiling * share)) + 0.5;
      c.beginPath(); c.moveTo(0, at); c.lineTo(width, at); c.stroke();
      c.fillText(`${ceiling * share} ms`, 4, at - 3);
    }
    for (const { at, ends } of this.frames) {
      const x = width - (newest - at) / (SECONDS * 1e6) * width;
      let below = 0;
      ends.forEach((end, k) => {
        c.fillStyle = STAGES[k][2];
        c.fillRect(x - 1.2, y(end), 1.2, Math.max(0, y(below) - y(end)));
        below = Math.max(below, end);
      });
    }
    let x = width - 6;
    c.textAlign = "right";
    for (const [name, , paint] of [...STAGES].reverse()) {
      c.fillStyle = ink("--faint");
      c.fillText(name, x, 12);
      x -= c.measureText(name).width + 12;
      c.fillStyle = paint;
      c.fillRect(x, 4, 8, 8);
      x -= 8;
    }
    c.textAlign = "start";
  }
}
