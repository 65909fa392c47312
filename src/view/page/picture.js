// The camera's picture with the keypoints that were found in that very picture.

import { COCO_BONES, colour, sized } from "./skeleton.js";

/** Less certain keypoints than this are not drawn. */
const LEAST = 0.15;

export class Picture {
  constructor(canvas, empty) {
    this.canvas = canvas;
    this.empty = empty;
    this.message = null;
    this.image = null;
  }

  async show(message) {
    const bytes = Uint8Array.from(atob(message.jpeg), (c) => c.charCodeAt(0));
    let image;
    try {
      image = await createImageBitmap(new Blob([bytes], { type: "image/jpeg" }));
    } catch {
      return; // A picture that the browser cannot read: the next one comes soon.
    }
    // Decoding takes its time: an older one must not replace a newer one.
    if (this.message && this.message.camera === message.camera && message.packet < this.message.packet) return;
    this.image?.close();
    this.image = image;
    this.message = message;
    this.empty.hidden = true;
    this.draw();
  }

  clear() {
    this.image?.close();
    this.image = this.message = null;
    this.empty.hidden = false;
    sized(this.canvas);
  }

  draw() {
    if (!this.image) return;
    const { context: c, width, height } = sized(this.canvas);
    const [w, h] = this.message.image_size;
    const scale = Math.min(width / w, height / h);
    const [left, top] = [(width - w * scale) / 2, (height - h * scale) / 2];
    c.drawImage(this.image, left, top, w * scale, h * scale);
    // Pixel centres are whole numbers.
    const at = ([x, y]) => [left + (x + 0.5) * scale, top + (y + 0.5) * scale];
    c.lineCap = "round";
    for (const person of this.message.persons) {
      const points = person.keypoints;
      if (!points || person.revision) continue;
      const dashed = person.predicted ? [4, 5] : [];
      c.setLineDash(dashed);
      for (const [a, b] of COCO_BONES) {
        const [p, q] = [points[a], points[b]];
        const belief = Math.min(p[2], q[2]);
        if (belief < LEAST) continue;
        const [[x0, y0], [x1, y1]] = [at(p), at(q)];
        c.lineWidth = 5;
        c.strokeStyle = `rgb(0 0 0 / ${0.45 * belief})`;
        c.beginPath(); c.moveTo(x0, y0); c.lineTo(x1, y1); c.stroke();
        c.lineWidth = 2.5;
        c.strokeStyle = colour(person.track, belief);
        c.stroke();
      }
      c.setLineDash([]);
      let highest = null;
      for (const point of Object.values(points)) {
        if (point[2] < LEAST) continue;
        const [x, y] = at(point);
        c.fillStyle = `rgb(255 255 255 / ${point[2]})`;
        c.beginPath(); c.arc(x, y, 2.4, 0, 7); c.fill();
        if (!highest || y < highest[1]) highest = [x, y];
      }
      if (highest) {
        c.font = "600 12px system-ui, sans-serif";
        c.lineWidth = 3;
        c.strokeStyle = "rgb(0 0 0 / 0.7)";
        c.fillStyle = "#fff";
        const label = `${person.track}`;
        c.strokeText(label, highest[0] + 8, highest[1] - 8);
        c.fillText(label, highest[0] + 8, highest[1] - 8);
      }
    }
  }
}
