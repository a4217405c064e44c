// A place for one picture: chosen, dropped, pasted, or taken from the gallery.

import { pictureUrl } from "./api.js";
import { button, icon, make, notify, t } from "./ui.js";

/** A file as a data URL. */
export function readFile(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result));
    reader.addEventListener("error", () => reject(reader.error));
    reader.readAsDataURL(file);
  });
}

/** The first picture that a drop or a paste brings: a file, or a picture of this page; null without. */
export async function pictureOf(transfer) {
  const file = [...transfer.files].find((one) => one.type.startsWith("image/"));
  if (file) return readFile(file);
  const url = transfer.getData("text/uri-list") || transfer.getData("text/plain");
  try {
    const { origin, pathname } = new URL(url);
    return origin === location.origin && /\/(outputs|inputs|thumbnails)\//.test(pathname)
      ? pathname.replace("/thumbnails/", "/outputs/").replace(/^.*(?=\/(outputs|inputs)\/)/, "") : null;
  } catch {
    return null;
  }
}

/** Whether the browser can show a picture; says so where it cannot, such as of a TIFF or HEIC file. */
export async function isShowable(source) {
  try {
    await make("img", { src: shown(source) }).decode();
    return true;
  } catch {
    notify(t("inputs.unreadable"), { bad: true });
    return false;
  }
}

/** What an <img> may show of a chosen picture. */
export const shown = (source) => (source.startsWith("data:") ? source : pictureUrl(source));

/** A place for one picture. Tells of a new one with the event "change"; `source` is a data URL, a path or "". */
export class ImageSlot extends HTMLElement {
  source = "";

  connectedCallback() {
    if (this.childElementCount) return;
    this.name = this.getAttribute("name");
    this.picker = make("input", { type: "file", accept: "image/*", class: "unseen", tabindex: -1, "aria-label": t("inputs.file_of", { name: this.name }),
      onchange: async () => { if (this.picker.files[0]) await this.offer(await readFile(this.picker.files[0])); this.picker.value = ""; } });
    this.picture = make("img", { alt: t("inputs.picture_of", { name: this.name }), hidden: true });
    this.choose = make("button", { type: "button", class: "choose", onclick: () => this.picker.click() },
      icon("image"), make("span", {}, this.name), make("small", {}, t("inputs.how")));
    this.remove_ = button(t("inputs.remove"), { icon: "close", text: false, hidden: true, kind: "remove", onclick: () => this.take("") });
    this.append(this.picker, this.picture, this.choose, this.remove_);
    this.addEventListener("dragover", (event) => { event.preventDefault(); this.classList.add("over"); });
    this.addEventListener("dragleave", () => this.classList.remove("over"));
    this.addEventListener("drop", async (event) => {
      event.preventDefault();
      event.stopPropagation();
      this.classList.remove("over");
      const found = await pictureOf(event.dataTransfer);
      if (found) this.offer(found);
      else notify(t("inputs.no_picture"), { bad: true });
    });
    this.addEventListener("paste", async (event) => {
      const found = await pictureOf(event.clipboardData);
      if (found) { event.preventDefault(); event.stopPropagation(); this.offer(found); }
    });
    this.show();
  }

  /** Take a picture from outside, unless it cannot be shown. */
  async offer(source) {
    if (await isShowable(source)) this.take(source);
  }

  take(source) {
    this.put(source);
    this.dispatchEvent(new Event("change"));
  }

  /** Show a picture without telling of it. */
  put(source) {
    this.source = source;
    this.show();
  }

  show() {
    if (!this.picture) return;
    this.picture.hidden = !this.source;
    this.choose.hidden = Boolean(this.source);
    this.remove_.hidden = !this.source;
    if (this.source) this.picture.src = shown(this.source);
    else this.picture.removeAttribute("src");
  }
}
customElements.define("image-slot", ImageSlot);
