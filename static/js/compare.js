// Two pictures side by side, moved and zoomed as one, with what was asked differently.

import { api, pictureUrl } from "./api.js";
import { valueText } from "./viewer.js";
import { attempt, dialog, labelOf, make, t } from "./ui.js";

export async function openComparison(cards) {
  const records = await attempt(() => Promise.all(cards.map((card) => api.task(card.task_id))));
  if (!records) return;
  const figures = cards.map((card) => make("figure", {},
    make("div", { class: "frame" }, make("img", { src: pictureUrl(card.images[0]), alt: card.prompt || t("stage.picture") })),
    make("figcaption", {}, card.prompt || t("no_prompt"))));
  const pair = make("div", { class: "pair" }, figures);
  const zoom = make("input", { type: "range", min: 1, max: 6, step: 0.1, value: 1, "aria-label": t("compare.zoom") });
  zoom.addEventListener("input", () => { for (const image of pair.querySelectorAll("img")) image.style.transform = `scale(${zoom.value})`; });
  pair.addEventListener("pointermove", (event) => {
    const frame = event.target.closest(".frame");
    if (!frame) return;
    const box = frame.getBoundingClientRect();
    const place = `${(100 * (event.clientX - box.left)) / box.width}% ${(100 * (event.clientY - box.top)) / box.height}%`;
    for (const image of pair.querySelectorAll("img")) image.style.transformOrigin = place;
  });
  const slider = make("label", { class: "zoom-row" }, make("span", {}, t("compare.zoom")), zoom);
  dialog(t("compare.title"), make("div", { class: "compare" }, pair, slider, differences(records)), { wide: true });
}

function differences([one, two]) {
  const names = [...new Set([...Object.keys(one.req_params), ...Object.keys(two.req_params)])];
  const different = names.filter((name) => valueText(one.req_params[name]) !== valueText(two.req_params[name]));
  if (!different.length) return make("p", { class: "muted" }, t("compare.same"));
  const head = make("tr", {}, ["compare.what", "compare.left", "compare.right"].map((key) => make("th", { scope: "col" }, t(key))));
  const rows = different.map((name) => make("tr", {}, make("th", { scope: "row" }, labelOf(name)),
    make("td", {}, valueText(one.req_params[name] ?? "")), make("td", {}, valueText(two.req_params[name] ?? ""))));
  return make("table", { class: "parameters" }, make("caption", { class: "unseen" }, t("compare.title")), make("thead", {}, head), make("tbody", {}, rows));
}
