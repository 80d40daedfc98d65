// One picture, large, with its receipt.

import { get, objectUrl, show } from "./api.js";
import { announce, button, byId, make, notice } from "./dom.js";

/** The text of each fact of a receipt, in the order of the page; undefined where there is none. */
const FACTS = [
  ["Style", (receipt, words) => receipt.style_preset && words.styleTitle(receipt.style_preset)],
  ["As the model read it", (receipt) => receipt.prompt],
  ["Left out", (receipt) => receipt.negative_prompt],
  ["Size", size],
  ["Seed", (receipt) => receipt.seed],
  ["Steps", (receipt) => receipt.steps],
  ["Guidance", (receipt) => receipt.cfg_scale],
  ["Scheduler", (receipt) => receipt.scheduler],
  ["Strength", (receipt) => receipt.image_sha256 && receipt.strength],
  ["Adapters", (receipt) => receipt.adapters.map(adapter).join("\n")],
  ["Model", (receipt) => receipt.model],
  ["Painted by", (receipt) => receipt.backend],
  ["Made", (receipt) => new Date(receipt.created_at).toLocaleString()],
  ["Worked for", (receipt) => receipt.worked_s != null && `${receipt.worked_s.toFixed(1)} s`],
  ["Licence", (receipt) => receipt.license],
];
const PRINTS = [
  ["Picture", (receipt) => receipt.image_id],
  ["Watermark", (receipt) => receipt.watermark],
  ["Model, SHA-256", (receipt) => receipt.model_sha256],
  ["Adapters, SHA-256", (receipt) => receipt.adapters.map(({ name, sha256 }) => `${name} ${sha256 ?? "?"}`).join("\n")],
  ["Started from, SHA-256", (receipt) => receipt.image_sha256],
  ["Mask, SHA-256", (receipt) => receipt.mask_sha256],
  ["Versions", (receipt) => Object.entries(receipt.versions).map((pair) => pair.join(" ")).join("\n")],
];

function size({ width, height, painted_width: across, painted_height: down }) {
  const shown = `${width} × ${height}`;
  return across === width && down === height ? shown : `${shown}, painted at ${across} × ${down}`;
}

function adapter({ name, scale, license }) {
  return `${name} × ${scale}${license ? ` (${license})` : ""}`;
}

const isPicture = (id) => /^[0-9a-f]{32}$/.test(id);

/** The address names the open picture, so that it can be shared, and so that Back closes it. */
export class Viewer {
  constructor(words, onLike) {
    this.words = words;
    this.onLike = onLike;
    this.dialog = byId("viewer");
    this.dialog.addEventListener("close", () => this.closed());
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    addEventListener("hashchange", () => this.follow());
  }

  open(id) {
    location.hash = id;
  }

  /** Show the picture that the address names, if it names one. */
  follow() {
    const id = location.hash.slice(1);
    if (isPicture(id)) this.load(id);
    else this.dialog.close();
  }

  closed() {
    this.wanted = undefined;
    this.dialog.replaceChildren();
    if (location.hash) history.replaceState(null, "", location.pathname);
  }

  async load(id) {
    this.wanted = id;
    this.dialog.replaceChildren(this.closer(), make("p", { class: "loading" }, "Fetching the picture…"));
    if (!this.dialog.open) this.dialog.showModal();
    let shown;
    try {
      shown = this.content(await get(`/images/${id}`));
    } catch (problem) {
      if (problem.status === 401) this.dialog.close(); // the page asks for the key
      shown = [make("div", { class: "loading" }, notice(problem))];
    }
    if (this.wanted === id) this.dialog.replaceChildren(...shown, this.closer());
  }

  closer() {
    const close = () => this.dialog.close();
    return make("button", { type: "button", class: "close", "aria-label": "Close", onclick: close }, "×");
  }

  content(image) {
    const { receipt } = image;
    const img = make("img", { alt: image.asked });
    const frame = make("div", { class: "frame" }, img);
    frame.style.setProperty("--ratio", `${receipt.width / receipt.height}`);
    img.addEventListener("error", () => frame.classList.add("missing"));
    show(img, image.image_url);
    return [
      frame,
      make(
        "div",
        { class: "facts" },
        make("h2", { id: "viewer-title" }, image.asked),
        make(
          "div",
          { class: "row" },
          button("Make another like this", "primary", () => this.like(receipt, undefined)),
          button("Same seed", "secondary", () => this.like(receipt, receipt.seed)),
          button("Download", "secondary", () => download(image)),
          button("Copy link", "secondary", (event) => copyLink(image.image_id, event.currentTarget)),
        ),
        this.list(FACTS, receipt),
        make("details", {}, make("summary", {}, "Fingerprints and versions"), this.list(PRINTS, receipt)),
      ),
    ];
  }

  list(rows, receipt) {
    const told = rows.map(([name, text]) => [name, text(receipt, this.words)]);
    const given = told.filter(([, text]) => text || text === 0);
    return make("dl", {}, given.map(([name, text]) => [make("dt", {}, name), make("dd", {}, String(text))]).flat());
  }

  like(receipt, seed) {
    this.dialog.close();
    this.onLike(receipt, seed);
  }
}

async function download(image) {
  const url = await objectUrl(image.image_url);
  make("a", { href: url, download: `sagaforge-${image.image_id}.png` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

async function copyLink(id, button) {
  const link = `${location.origin}${location.pathname}#${id}`;
  try {
    await navigator.clipboard.writeText(link);
    button.textContent = "Copied";
    announce("The link is copied.");
  } catch {
    // Browsers give the clipboard to HTTPS and to this machine only: then it is shown, to be copied by hand.
    const field = make("input", { value: link, readOnly: true, "aria-label": "Link to the picture", class: "link" });
    button.replaceWith(field);
    field.select();
  }
}
