// A picture to paint a mask on: white where the model shall paint. With the pointer, or with the arrow keys and Space.

import { announce, button, dialog, make, t } from "./ui.js";

const KEY_STEP = 16;
const LARGEST_ZOOM = 16;
const STRIPE = 7; // pixels of the screen
const COLOURS = ["rgb(64 81 211)", "rgb(255 244 92)"]; // side by side, one of them stands out on any picture

export class MaskPainter {
  #strokes = [];
  #undone = [];
  #stroke = null;
  #cursor = null;
  #margins = [0, 0, 0, 0];
  #layer = make("canvas"); // the mask itself: opaque where it is painted
  #zoom = 1;
  #pan = null;

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
    this.easel = make("div", { class: "easel" }, this.sheet);
    this.element = make("div", { class: "painter" }, this.easel, this.#tools(), make("small", { id: "mask-help", class: "help" }, t("mask.help")));
    this.ready = new Promise((resolve) => {
      this.picture.addEventListener("load", () => { this.#show(); resolve(); }, { once: true });
    });
    this.picture.src = source;
    this.#listen();
  }

  #tools() {
    const tool = (name, drawing, onclick, rest = {}) => button(t(`mask.${name}`), { icon: drawing, text: false, onclick, ...rest });
    this.size = make("input", { type: "range", min: 4, max: 200, value: 48, "aria-label": t("mask.brush") });
    this.eraser = button(t("mask.erase"), { icon: "brush", text: true, "aria-pressed": "false", onclick: () => this.erase(!this.erasing) });
    this.hand = tool("hand", "move", () => this.hand.setAttribute("aria-pressed", this.hand.getAttribute("aria-pressed") !== "true"), { "aria-pressed": "false" });
    this.undoing = tool("undo", "undo", () => this.undo());
    this.redoing = tool("redo", "redo", () => this.redo());
    this.large = tool("large", "large", () => this.enlarge());
    return make("div", { class: "painter-tools" }, make("label", {}, make("span", {}, t("mask.brush")), this.size), this.eraser, this.undoing, this.redoing,
      tool("invert", "compare", () => this.#add({ invert: true })), tool("clear", "trash", () => this.clear()),
      tool("zoom_out", "minus", () => this.zoom(this.#zoom / 1.5)), tool("zoom_in", "plus", () => this.zoom(this.#zoom * 1.5)), this.hand, this.large);
  }

  /** Pixels of the picture for one pixel of the screen. */
  get scale() {
    return this.width / (this.canvas.clientWidth || this.width || 1);
  }

  #show() {
    this.width = this.picture.naturalWidth;
    this.height = this.picture.naturalHeight;
    for (const canvas of [this.canvas, this.#layer]) Object.assign(canvas, { width: this.width, height: this.height });
    this.canvas.hidden = false; // nothing can be painted on a picture that is not there yet
    this.extend(this.#margins);
    this.#draw();
    new ResizeObserver(() => this.#fit()).observe(this.easel);
  }

  /** Add a mask made elsewhere, white on black, as a stroke that can be undone. */
  async add(source) {
    this.#add({ image: await this.#shapeOf(source) });
    this.#tellCoverage();
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
    this.ratio = whole.width / whole.height;
    this.#fit();
  }

  /** The sheet as large as the zoom says: at 1 it fills its place, in the large editor without being cut. */
  #fit() {
    if (!this.ratio || !this.easel.clientWidth) return;
    const whole = this.element.classList.contains("large") ? Math.min(this.easel.clientWidth, this.easel.clientHeight * this.ratio) : this.easel.clientWidth;
    const width = `${Math.floor(whole * this.#zoom)}px`;
    if (this.sheet.style.width === width) return;
    this.sheet.style.width = width;
    this.#draw(); // stripes and cursor are as wide as before on the screen
  }

  /** Zoom to a factor; what is under the pointer stays there, else the middle. */
  zoom(factor, at) {
    const { easel } = this;
    const before = this.sheet.getBoundingClientRect();
    const box = easel.getBoundingClientRect();
    const point = at ? [at.clientX, at.clientY] : [box.left + box.width / 2, box.top + box.height / 2];
    const part = [(point[0] - before.left) / before.width, (point[1] - before.top) / before.height];
    this.#zoom = Math.max(1, Math.min(LARGEST_ZOOM, factor));
    this.#fit();
    const after = this.sheet.getBoundingClientRect();
    easel.scrollLeft += after.left + part[0] * after.width - point[0];
    easel.scrollTop += after.top + part[1] * after.height - point[1];
  }

  /** Paint in a dialog that fills the window; closed, the painter returns to its place. */
  enlarge() {
    if (this.element.closest("dialog")) return;
    const place = this.element.parentElement;
    this.element.classList.add("large");
    this.large.hidden = true;
    const box = dialog(t("mask.large"), this.element, { wide: true });
    this.#fit();
    this.canvas.focus({ preventScroll: true });
    box.addEventListener("close", () => {
      this.element.classList.remove("large");
      this.large.hidden = false;
      this.#zoom = 1;
      place.append(this.element);
      this.#fit();
    });
  }

  #listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      event.preventDefault();
      canvas.focus({ preventScroll: true });
      if (event.button === 1 || this.hand.getAttribute("aria-pressed") === "true") {
        this.#pan = event;
        return;
      }
      const stroke = { erase: this.erasing || event.button === 2, size: Number(this.size.value) * this.scale, points: [this.#place(event)] };
      this.#add(stroke);
      this.#stroke = stroke;
    });
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("lostpointercapture", () => {
      if (this.#stroke) this.onchange();
      this.#stroke = this.#pan = null;
    });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("blur", () => { this.#cursor = null; this.#draw(); });
    this.element.addEventListener("keydown", (event) => this.#key(event));
    this.easel.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !this.element.classList.contains("large")) return; // the form scrolls
      event.preventDefault();
      this.zoom(this.#zoom * Math.exp(-event.deltaY / 400), event);
    }, { passive: false });
  }

  #move(event) {
    if (this.#pan) {
      this.easel.scrollLeft -= event.clientX - this.#pan.clientX;
      this.easel.scrollTop -= event.clientY - this.#pan.clientY;
      this.#pan = event;
    }
    if (!this.#stroke) return;
    const { points } = this.#stroke;
    const from = points.length - 1;
    points.push(...(event.getCoalescedEvents?.() ?? [event]).map((one) => this.#place(one)));
    this.#paintLine(this.#stroke, from);
    this.#tint(this.#boundsOf(this.#stroke, from));
  }

  #key(event) {
    const { key } = event;
    const isOnCanvas = event.target === this.canvas;
    const command = event.ctrlKey || event.metaKey;
    const does = command ? { z: () => (event.shiftKey ? this.redo() : this.undo()), Z: () => this.redo(), y: () => this.redo() }[key] : {
      "[": () => this.#resize(1 / 1.2), "]": () => this.#resize(1.2), e: () => this.erase(!this.erasing), i: () => this.#add({ invert: true }),
      "+": () => this.zoom(this.#zoom * 1.5), "=": () => this.zoom(this.#zoom * 1.5), "-": () => this.zoom(this.#zoom / 1.5), 0: () => this.zoom(1),
      ...(isOnCanvas ? { " ": () => this.#dab(this.#cursor ??= this.#middle()) } : {}),
    }[key];
    const way = isOnCanvas && { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
    if (!does && !way) return;
    event.preventDefault();
    if (does) does();
    else this.#step(way, event.shiftKey);
    this.#draw();
  }

  #middle() {
    return [this.width / 2, this.height / 2];
  }

  /** Move the cursor with an arrow key; with Shift it paints on its way. */
  #step([across, down], paints) {
    const now = this.#cursor ?? this.#middle();
    const step = KEY_STEP * this.scale;
    this.#cursor = [Math.max(0, Math.min(this.width, now[0] + across * step)), Math.max(0, Math.min(this.height, now[1] + down * step))];
    if (paints) this.#dab(now, this.#cursor);
  }

  #resize(factor) {
    this.size.value = Math.max(Number(this.size.min), Math.round(Number(this.size.value) * factor));
  }

  erase(on) {
    this.erasing = on;
    this.eraser.setAttribute("aria-pressed", on);
  }

  #dab(...points) {
    this.#add({ erase: this.erasing, size: Number(this.size.value) * this.scale, points });
    this.#tellCoverage();
  }

  #tellCoverage() {
    announce(t("mask.painted", { percent: Math.round(this.coverage() * 100) }));
  }

  #place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [((event.clientX - box.left) * this.width) / box.width, ((event.clientY - box.top) * this.height) / box.height];
  }

  #add(stroke) {
    this.#strokes.push(stroke);
    this.#undone = [];
    this.#paint(stroke);
    this.#tint();
    this.#offerUndo();
    this.onchange();
  }

  #offerUndo() {
    this.undoing.disabled = !this.#strokes.length;
    this.redoing.disabled = !this.#undone.length;
  }

  undo() {
    if (this.#strokes.length) this.#undone.push(this.#strokes.pop());
    this.#draw();
    this.onchange();
  }

  redo() {
    if (this.#undone.length) this.#strokes.push(this.#undone.pop());
    this.#draw();
    this.onchange();
  }

  clear() {
    this.#strokes = [];
    this.#undone = [];
    this.#draw();
    this.onchange();
  }

  #paint(stroke) {
    const context = this.#layer.getContext("2d");
    if (stroke.image) {
      context.drawImage(stroke.image, 0, 0);
    } else if (stroke.invert) {
      context.globalCompositeOperation = "xor";
      context.fillStyle = "white";
      context.fillRect(0, 0, this.width, this.height);
      context.globalCompositeOperation = "source-over";
    } else {
      this.#paintLine(stroke, 0);
    }
  }

  /** A stroke from one of its points on. */
  #paintLine({ erase, size, points }, from) {
    const context = this.#layer.getContext("2d");
    context.globalCompositeOperation = erase ? "destination-out" : "source-over";
    Object.assign(context, { lineCap: "round", lineJoin: "round", strokeStyle: "white", lineWidth: size });
    context.beginPath();
    context.moveTo(...points[from]);
    context.lineTo(points[from][0] + 0.01, points[from][1]); // a line without length draws no dot
    for (const point of points.slice(from + 1)) context.lineTo(...point);
    context.stroke();
    context.globalCompositeOperation = "source-over";
  }

  /** The rectangle that a stroke touches from one of its points on: [x, y, width, height]. */
  #boundsOf({ size, points }, from) {
    const margin = size / 2 + 2;
    const [across, down] = [0, 1].map((axis) => points.slice(from).map((point) => point[axis]));
    const [left, top] = [Math.max(0, Math.floor(Math.min(...across) - margin)), Math.max(0, Math.floor(Math.min(...down) - margin))];
    return [left, top, Math.min(this.width, Math.ceil(Math.max(...across) + margin)) - left, Math.min(this.height, Math.ceil(Math.max(...down) + margin)) - top];
  }

  /** Show the mask, or what has changed of it, in stripes of two colours. */
  #tint(bounds = [0, 0, this.width, this.height]) {
    const [, , width, height] = bounds;
    if (width <= 0 || height <= 0) return;
    const context = this.canvas.getContext("2d");
    context.save();
    context.beginPath();
    context.rect(...bounds);
    context.clip();
    context.clearRect(...bounds);
    context.drawImage(this.#layer, ...bounds, ...bounds);
    context.globalCompositeOperation = "source-in";
    context.fillStyle = this.#stripes(context);
    context.fillRect(...bounds);
    context.restore();
  }

  #stripes(context) {
    const step = Math.max(2, Math.round(STRIPE * this.scale));
    if (this.striped?.step === step) return this.striped.pattern;
    const tile = make("canvas", { width: 4 * step, height: 4 * step });
    const paint = tile.getContext("2d");
    [paint.fillStyle, paint.strokeStyle] = COLOURS;
    paint.fillRect(0, 0, 4 * step, 4 * step);
    paint.lineWidth = Math.SQRT2 * step;
    for (const shift of [-4, 0, 4]) {
      paint.beginPath();
      paint.moveTo((shift - 1) * step, 5 * step);
      paint.lineTo((shift + 5) * step, -step);
      paint.stroke();
    }
    this.striped = { step, pattern: context.createPattern(tile, "repeat") };
    return this.striped.pattern;
  }

  #draw() {
    if (!this.width) return;
    this.#layer.getContext("2d").clearRect(0, 0, this.width, this.height);
    for (const stroke of this.#strokes) this.#paint(stroke);
    this.#tint();
    this.#offerUndo();
    if (!this.#cursor) return;
    const context = this.canvas.getContext("2d");
    for (const [colour, width] of [["black", 4], ["white", 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = width * this.scale;
      context.beginPath();
      context.arc(...this.#cursor, (Number(this.size.value) * this.scale) / 2, 0, 2 * Math.PI);
      context.stroke();
    }
  }

  /** How much of the picture is painted, from 0 to 1. */
  coverage() {
    if (!this.width || !this.#strokes.length) return 0;
    const { data } = this.#layer.getContext("2d").getImageData(0, 0, this.width, this.height);
    let painted = 0;
    for (let at = 3; at < data.length; at += 4) if (data[at] > 127) painted += 1;
    return (4 * painted) / data.length;
  }

  /** White on black as a PNG data URL; "" where nothing is painted. */
  mask() {
    if (!this.coverage()) return "";
    const canvas = make("canvas", { width: this.width, height: this.height });
    const context = canvas.getContext("2d");
    context.fillStyle = "black";
    context.fillRect(0, 0, this.width, this.height);
    context.drawImage(this.#layer, 0, 0);
    return canvas.toDataURL("image/png");
  }
}
