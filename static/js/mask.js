// A picture to paint a mask on: white where the model shall paint. With the pointer, or with the arrow keys and Space.

import { announce, button, make, t } from "./ui.js";

const KEY_STEP = 16;

/** The same shape in another colour. */
function tinted(shape, colour) {
  const canvas = make("canvas", { width: shape.width, height: shape.height });
  const context = canvas.getContext("2d");
  context.fillStyle = colour;
  context.fillRect(0, 0, shape.width, shape.height);
  context.globalCompositeOperation = "destination-in";
  context.drawImage(shape, 0, 0);
  return canvas;
}

export class MaskPainter {
  #strokes = [];
  #stroke = null;
  #cursor = null;
  #margins = [0, 0, 0, 0];

  /** `source` is what an <img> may show; `onchange` hears that the mask has changed. */
  constructor(source, onchange = () => {}) {
    this.onchange = onchange;
    this.width = 0;
    this.height = 0;
    this.erasing = false;
    this.picture = make("img", { alt: "", draggable: false });
    this.canvas = make("canvas", { hidden: true, tabindex: 0, role: "application", "aria-label": t("mask.canvas"), "aria-describedby": "mask-help" });
    this.paper = make("div", { class: "paper" }, this.picture, this.canvas);
    this.sheet = make("div", { class: "sheet" }, this.paper);
    this.size = make("input", { type: "range", min: 4, max: 200, value: 48, "aria-label": t("mask.brush") });
    const erase = button(t("mask.erase"), { icon: "brush", text: true, "aria-pressed": "false", onclick: () => {
      this.erasing = !this.erasing;
      erase.setAttribute("aria-pressed", this.erasing);
    } });
    this.element = make("div", { class: "painter" }, this.sheet,
      make("div", { class: "painter-tools" }, make("label", {}, make("span", {}, t("mask.brush")), this.size), erase,
        button(t("mask.undo"), { icon: "undo", text: false, onclick: () => this.undo() }),
        button(t("mask.invert"), { icon: "compare", text: false, onclick: () => this.#add({ invert: true }) }),
        button(t("mask.clear"), { icon: "trash", text: false, onclick: () => { this.#strokes = []; this.#draw(); onchange(); } })),
      make("small", { id: "mask-help", class: "help" }, t("mask.help")));
    this.ready = new Promise((resolve) => {
      this.picture.addEventListener("load", () => { this.#show(); resolve(); }, { once: true });
    });
    this.picture.src = source;
    this.#listen();
  }

  /** Pixels of the picture for one pixel of the screen. */
  get scale() {
    return this.width / (this.canvas.clientWidth || this.width || 1);
  }

  #show() {
    this.width = this.picture.naturalWidth;
    this.height = this.picture.naturalHeight;
    this.canvas.width = this.width;
    this.canvas.height = this.height;
    this.canvas.hidden = false; // nothing can be painted on a picture that is not there yet
    this.extend(this.#margins);
    this.#draw();
  }

  /** Add a mask made elsewhere, white on black, as a stroke that can be undone. */
  async add(source) {
    this.#add({ image: await this.#shapeOf(source) });
    announce(t("mask.painted", { percent: Math.round(this.coverage() * 100) }));
  }

  /** Take up a mask that was painted before; nobody hears of it. */
  async restore(source) {
    await this.ready;
    this.#strokes = [{ image: await this.#shapeOf(source) }];
    this.#draw();
  }

  async #shapeOf(source) {
    const picture = make("img", { src: source });
    await picture.decode();
    const image = make("canvas", { width: this.width, height: this.height });
    const context = image.getContext("2d", { willReadFrequently: true });
    context.drawImage(picture, 0, 0, this.width, this.height);
    const pixels = context.getImageData(0, 0, this.width, this.height);
    for (let at = 0; at < pixels.data.length; at += 4) {
      pixels.data[at + 3] = pixels.data[at];
      pixels.data.fill(255, at, at + 3);
    }
    context.putImageData(pixels, 0, 0);
    return image;
  }

  /** Put the outpainting handles round the picture. */
  frame(handles) {
    this.paper.append(...handles);
  }

  /** Show that the picture will grow by [left, top, right, bottom] pixels. */
  extend(margins) {
    this.#margins = margins;
    if (!this.width) return;
    const [left, top, right, bottom] = margins;
    const whole = { width: this.width + left + right, height: this.height + top + bottom };
    this.sheet.style.aspectRatio = `${whole.width} / ${whole.height}`;
    this.paper.style.left = `${(100 * left) / whole.width}%`;
    this.paper.style.top = `${(100 * top) / whole.height}%`;
    this.paper.style.width = `${(100 * this.width) / whole.width}%`;
    this.paper.style.height = `${(100 * this.height) / whole.height}%`;
  }

  #listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.#add({ erase: this.erasing || event.button === 2, size: Number(this.size.value) * this.scale, points: [this.#place(event)] });
      this.#stroke = this.#strokes.at(-1);
      event.preventDefault();
      canvas.focus({ preventScroll: true });
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!this.#stroke) return;
      this.#stroke.points.push(...(event.getCoalescedEvents?.() ?? [event]).map((one) => this.#place(one)));
      this.#draw();
    });
    canvas.addEventListener("lostpointercapture", () => { this.#stroke = null; this.onchange(); });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("blur", () => { this.#cursor = null; this.#draw(); });
  }

  #key(event) {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const now = this.#cursor ?? [this.width / 2, this.height / 2];
    if (way) {
      const step = KEY_STEP * this.scale;
      const next = [now[0] + way[0] * step, now[1] + way[1] * step];
      this.#cursor = [Math.max(0, Math.min(this.width, next[0])), Math.max(0, Math.min(this.height, next[1]))];
      if (event.shiftKey) this.#dab(now, this.#cursor);
    } else if (event.key === " ") {
      this.#cursor = now;
      this.#dab(now);
    } else if (event.key === "z" && (event.ctrlKey || event.metaKey)) {
      this.undo();
    } else {
      return;
    }
    event.preventDefault();
    this.#draw();
  }

  #dab(...points) {
    this.#add({ erase: this.erasing, size: Number(this.size.value) * this.scale, points });
    announce(t("mask.painted", { percent: Math.round(this.coverage() * 100) }));
  }

  #place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [((event.clientX - box.left) * this.width) / box.width, ((event.clientY - box.top) * this.height) / box.height];
  }

  #add(stroke) {
    this.#strokes.push(stroke);
    this.#draw();
    this.onchange();
  }

  undo() {
    this.#strokes.pop();
    this.#draw();
    this.onchange();
  }

  #paint(context, colour) {
    context.lineCap = "round";
    context.lineJoin = "round";
    for (const { image, invert, erase, size, points } of this.#strokes) {
      if (image) {
        context.drawImage(tinted(image, colour), 0, 0);
        continue;
      }
      if (invert) {
        context.globalCompositeOperation = "xor";
        context.fillStyle = colour;
        context.fillRect(0, 0, this.width, this.height);
        continue;
      }
      context.globalCompositeOperation = erase ? "destination-out" : "source-over";
      context.strokeStyle = colour;
      context.lineWidth = size;
      context.beginPath();
      context.moveTo(...points[0]);
      context.lineTo(points[0][0] + 0.01, points[0][1]); // a line without length draws no dot
      for (const point of points.slice(1)) context.lineTo(...point);
      context.stroke();
    }
    context.globalCompositeOperation = "source-over";
  }

  #draw() {
    if (!this.width) return;
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, this.width, this.height);
    this.#paint(context, "rgb(91 110 232)");
    if (!this.#cursor) return;
    context.strokeStyle = "white";
    context.lineWidth = 2 * this.scale;
    context.beginPath();
    context.arc(...this.#cursor, (Number(this.size.value) * this.scale) / 2, 0, 2 * Math.PI);
    context.stroke();
  }

  #drawn() {
    const canvas = make("canvas", { width: this.width, height: this.height });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    this.#paint(context, "white");
    return { canvas, context };
  }

  /** How much of the picture is painted, from 0 to 1. */
  coverage() {
    if (!this.width || !this.#strokes.length) return 0;
    const { data } = this.#drawn().context.getImageData(0, 0, this.width, this.height);
    let painted = 0;
    for (let at = 3; at < data.length; at += 4) if (data[at] > 127) painted += 1;
    return (4 * painted) / data.length;
  }

  /** White on black as a PNG data URL; "" where nothing is painted. */
  mask() {
    if (!this.coverage()) return "";
    const { canvas, context } = this.#drawn();
    context.globalCompositeOperation = "destination-over";
    context.fillStyle = "black";
    context.fillRect(0, 0, this.width, this.height);
    return canvas.toDataURL("image/png");
  }
}
