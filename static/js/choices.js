// What is chosen by name: styles, models and LoRAs. Sections of the form (`page`, Create) that come when they are first opened.

import { button, labelOf, make, makeField, t } from "./ui.js";

export function styleField(page) {
  const search = make("input", { type: "search", placeholder: t("create.search_styles"), "aria-label": t("create.search_styles") });
  const chosen = make("div", { class: "chips", role: "group", "aria-label": t("create.chosen_styles") });
  const list = make("div", { class: "styles", role: "group", "aria-label": labelOf("style_selections") });
  const now = () => [...page.request.get("style_selections")];
  const change = (name, on) => {
    page.request.set("style_selections", on ? [...now(), name] : now().filter((other) => other !== name));
    update();
  };
  list.append(...page.models.styles.map((name) => make("label", { class: "style" },
    make("input", { type: "checkbox", value: name, onchange: (event) => change(name, event.target.checked) }), name)));
  const update = () => {
    const names = new Set(now());
    for (const input of list.querySelectorAll("input")) input.checked = names.has(input.value);
    chosen.replaceChildren(...[...names].map((name) =>
      button(name, { kind: "chip", icon: "close", text: true, "aria-label": t("create.remove_style", { name }), onclick: () => change(name, false) })));
  };
  search.addEventListener("input", () => {
    const words = search.value.toLowerCase().split(/\s+/);
    for (const label of list.children) label.hidden = !words.every((word) => label.textContent.toLowerCase().includes(word));
  });
  page.updates.push(update);
  update();
  return make("div", { class: "stack" }, chosen, search, list);
}

export function modelFields(page) {
  const names = () => page.models.checkpoints.map((file) => file.name);
  const none = page.request.schema.properties.refiner_model_name.default;
  const onchange = (name) => { page.request.set("base_model_name", name); page.update(); };
  return [page.field("base_model_name", { options: names, onchange }), page.field("refiner_model_name", { options: () => [none, ...names()] }), loraField(page)];
}

function loraField(page) {
  const schema = page.schemas.Lora.properties;
  const rows = make("div", { class: "stack" });
  const save = (slots) => { page.request.set("loras", slots); };
  const update = () => {
    const slots = page.request.get("loras").map((slot) => ({ ...slot }));
    rows.replaceChildren(...slots.map((slot, index) => {
      const change = (key, value) => { slot[key] = value; save(slots); };
      const field = (key, extra) => makeField(key, schema[key], {
        value: slot[key], quiet: true, onchange: (value) => change(key, value), ...extra,
      }).element;
      const options = [schema.model_name.default, ...page.models.loras.map((file) => file.name)];
      return make("fieldset", { class: "lora" }, make("legend", {}, t("create.lora_number", { number: index + 1 })),
        field("enabled"), field("model_name", { options }), field("weight"),
        button(t("create.remove_lora"), { icon: "trash", text: false, onclick: () => { slots.splice(index, 1); save(slots); update(); } }));
    }));
  };
  const add = button(t("create.add_lora"), {
    icon: "plus", text: true,
    onclick: () => {
      const name = page.models.loras[0]?.name ?? schema.model_name.default;
      save([...page.request.get("loras"), { enabled: true, model_name: name, weight: schema.weight.default }]);
      update();
    },
  });
  const hint = make("p", { class: "hint" }, t("create.no_loras"));
  page.updates.push(update, () => { hint.hidden = page.models.loras.length > 0; });
  update();
  hint.hidden = page.models.loras.length > 0;
  return make("div", { class: "stack", "data-field": "loras" }, rows, hint, add);
}
