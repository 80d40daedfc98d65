// The form: what it asks for, and what a receipt puts back into it.

import { byId, make } from "./dom.js";

const EXAMPLES = [
  "a girl with silver hair in a red cloak, a harbour at night, rain",
  "an old lighthouse on a cliff, storm clouds",
  "a market street in the evening, lanterns",
];
const SHAPES = [
  ["Square", 1, 1],
  ["Wide", 3, 2],
  ["Tall", 2, 3],
];
const CUSTOM = "custom";

const form = byId("form");
const value = (id) => byId(id).value.trim();
const number = (id) => (value(id) === "" ? undefined : Number(value(id)));
const picked = (name) => form.elements[name].value;

export class Form {
  constructor(onPaint) {
    this.styles = new Map();
    this.model = undefined;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const request = this.read();
      if (request.prompt) onPaint(request);
      else this.write("");
    });
    form.addEventListener("input", () => this.refresh());
    // A field that is folded away can't show what is wrong with it.
    form.addEventListener("invalid", () => (byId("options").open = true), true);
    byId("prompt").addEventListener("keydown", (event) => {
      // While a word is being composed (Chinese, Japanese), Enter takes the word.
      // Safari says so by the key's code alone.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
      event.preventDefault();
      form.requestSubmit();
    });
    byId("examples").append(
      ...EXAMPLES.map((text) => {
        const onclick = () => this.write(text);
        return make("button", { type: "button", class: "chip", onclick }, make("span", {}, text));
      }),
    );
    this.refresh();
  }

  write(prompt) {
    byId("prompt").value = prompt;
    byId("prompt").focus();
  }

  setStyles(styles) {
    this.styles = new Map(styles.map((style) => [style.style_id, style]));
    const kept = picked("style");
    const chips = styles.map(({ style_id: id, title }) =>
      make(
        "label",
        { class: "chip" },
        make("input", { type: "radio", name: "style", value: id, checked: id === kept }),
        make("span", {}, title),
      ),
    );
    byId("styles").replaceChildren(byId("styles").firstElementChild, ...chips);
    this.refresh();
  }

  styleTitle(id) {
    return this.styles.get(id)?.title ?? id;
  }

  setModels({ models: [model], loras }) {
    this.model = model;
    byId("adapters").replaceChildren(...loras.map(adapterRow));
    if (model) {
      const sizes = SHAPES.map(([name, ...shape]) => {
        const [width, height] = fitting(shape, model.max_pixels);
        return make("option", { value: `${width}x${height}` }, `${name}, ${width} × ${height}`);
      });
      const size = byId("size");
      for (const option of [...size.options].slice(1, -1)) option.remove();
      size.options[0].after(...sizes);
      const scheduler = byId("scheduler");
      scheduler.length = 1;
      scheduler.append(...model.schedulers.map((name) => make("option", {}, name)));
    }
    this.refresh();
  }

  /** What shows follows what is chosen: the style's own values as placeholders, a summary of the folded options. */
  refresh() {
    const style = this.styles.get(picked("style"))?.default_params ?? {};
    byId("steps").placeholder = style.steps ?? this.model?.steps ?? "";
    byId("guidance").placeholder = style.cfg_scale ?? this.model?.cfg_scale ?? "";
    for (const label of form.querySelectorAll(".custom")) label.hidden = value("size") !== CUSTOM;
    byId("no-adapters").hidden = byId("adapters").children.length > 0;
    const { num_images: count, width, height, steps, cfg_scale: guidance, seed, scheduler, lora = [] } = this.read();
    byId("chosen").textContent = [
      count > 1 && `${count} pictures`,
      width && `${width} × ${height ?? width}`,
      steps && `${steps} steps`,
      guidance !== undefined && `guidance ${guidance}`,
      seed !== undefined && `seed ${seed}`,
      scheduler,
      ...lora.map((one) => `${one.name} × ${one.scale}`),
    ]
      .filter(Boolean)
      .map((part) => part.replaceAll(" ", "\u00a0"))
      .join(" · ");
  }

  /** The body of `POST /t2i/generate`; what is left open is left out. */
  read() {
    const sides = value("size").split("x").map((side) => Number(side) || undefined);
    const [width, height] = value("size") === CUSTOM ? [number("width"), number("height")] : sides;
    const lora = [...byId("adapters").children].filter((row) => row.check.checked).map((row) => row.read());
    const request = {
      prompt: value("prompt"),
      negative_prompt: value("negative") || undefined,
      style_preset: picked("style") || undefined,
      width,
      height,
      steps: number("steps"),
      cfg_scale: number("guidance"),
      seed: /^\d+$/.test(value("seed")) ? exact(value("seed")) : undefined,
      scheduler: value("scheduler") || undefined,
      lora: lora.length ? lora : undefined,
      num_images: Number(picked("count")),
    };
    return Object.fromEntries(Object.entries(request).filter(([, given]) => given !== undefined));
  }

  /** Put back what a receipt's request asked for; without `seed`, the next picture gets a new one. */
  fill({ request: asked, width, height }, seed) {
    const isSized = asked.width || asked.height || asked.image_type;
    const sizes = [...byId("size").options].map((option) => option.value);
    const known = sizes.includes(`${width}x${height}`) ? `${width}x${height}` : CUSTOM;
    const fields = {
      prompt: asked.prompt,
      negative: asked.negative_prompt,
      steps: asked.steps,
      guidance: asked.cfg_scale,
      scheduler: asked.scheduler,
      seed,
      size: isSized && known,
      width: isSized && width,
      height: isSized && height,
    };
    for (const [id, given] of Object.entries(fields)) byId(id).value = given || given === 0 ? given : "";
    const styles = [...form.querySelectorAll("[name=style]")];
    (styles.find((radio) => radio.value === asked.style_preset) ?? styles[0]).checked = true;
    form.elements.count.value = "1";
    this.fillAdapters(asked.lora ?? []);
    this.refresh();
    byId("prompt").focus();
    form.scrollIntoView({ block: "nearest" });
  }

  fillAdapters(wanted) {
    const rows = [...byId("adapters").children];
    for (const row of rows) row.set(wanted.find((one) => one.name === row.name));
    for (const one of wanted.filter(({ name }) => !rows.some((row) => row.name === name))) {
      // Gone since then: asking for it lets the server say so, leaving it out would paint another picture.
      const row = adapterRow(one.name);
      row.set(one);
      byId("adapters").append(row);
    }
  }
}

const exact = (digits) => (Number.isSafeInteger(Number(digits)) ? Number(digits) : BigInt(digits));

/** Sides in the ratio `shape`, as large as the model paints, in whole blocks of 8 pixels. */
function fitting([across, down], pixels) {
  const side = Math.sqrt(pixels / (across * down));
  return [across, down].map((part) => Math.floor((part * side) / 8) * 8);
}

function adapterRow(name) {
  const check = make("input", { type: "checkbox" });
  const input = (label, range) => make("input", { ...range, value: 1, "aria-label": `${label} of ${name}` });
  const slider = input("How much", { type: "range", min: 0, max: 2, step: 0.05 });
  const scale = input("Scale", { type: "number", min: -4, max: 4, step: "any" });
  const enable = () => (slider.disabled = scale.disabled = !check.checked);
  check.addEventListener("change", enable);
  slider.addEventListener("input", () => (scale.value = slider.value));
  scale.addEventListener("input", () => (slider.value = scale.value));
  enable();
  const row = make("li", {}, make("label", {}, check, make("span", {}, name)), slider, scale);
  return Object.assign(row, {
    name,
    check,
    read: () => ({ name, scale: scale.value === "" ? 1 : Number(scale.value) }),
    set(one) {
      check.checked = Boolean(one);
      scale.value = slider.value = one?.scale ?? 1;
      enable();
    },
  });
}
