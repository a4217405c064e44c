// Which keys do what, in a dialog.

import { dialog, make, t } from "./ui.js";

const KEYS = {
  everywhere: [["?", "help"], ["Alt+1 … 5", "pages"]],
  create: [["Ctrl+Enter", "generate"], ["Esc", "stop"], ["Ctrl+↑ ↓", "weight"], ["<lora: __ @", "complete"], ["Ctrl+V", "paste"]],
  mask: [["[ ]", "brush"], ["E", "erase"], ["Ctrl+Z", "undo"], ["Ctrl+Shift+Z", "redo"], ["+ − 0", "zoom"]],
  picture: [["← →", "turn"], ["+ − 0", "zoom"], ["F", "favourite"], ["Del", "delete"], ["Esc", "close"]],
};

export function openKeys() {
  if (document.querySelector("dialog[open]")) return;
  dialog(t("keys.title"), make("div", { class: "keys" }, Object.entries(KEYS).map(([place, keys]) =>
    make("section", {}, make("h3", {}, t(`keys.${place}`)), make("dl", {}, keys.flatMap(([key, what]) =>
      [make("dt", {}, make("kbd", {}, key)), make("dd", {}, t(`keys.do_${what}`))]))))));
}
