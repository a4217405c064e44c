// A model that is not here yet: how large it is, where it comes from, and whether it shall be fetched.

import { api } from "./api.js";
import { button, dialog, make, notify, size, t } from "./ui.js";

/** Resolves with true where the request may be sent; what the server does not know it refuses by itself. */
export async function askToFetch(name) {
  const source = await api.modelSource(name).catch(() => null);
  if (!source || source.installed) return true;
  if (!source.allowed) {
    notify(t("create.fetch_forbidden", { name }), { bad: true });
    return false;
  }
  return new Promise((resolve) => {
    let agreed = false;
    const choose = (answer) => { agreed = answer; box.close(); };
    const box = dialog(t("create.fetch_title"), make("div", { class: "stack asked" },
      make("p", {}, t("create.fetch_what", { name, size: size(source.bytes) || t("create.fetch_size_unknown") })),
      make("p", { class: "muted" }, t("create.fetch_from", { host: new URL(source.url).host })),
      make("div", { class: "actions" },
        button(t("create.fetch"), { kind: "primary", icon: "fetch", text: true, onclick: () => choose(true) }),
        button(t("cancel"), { text: true, onclick: () => choose(false) }))));
    box.addEventListener("close", () => resolve(agreed));
  });
}
