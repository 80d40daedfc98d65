// The grid of what was painted, newest first, page by page.

import { get, show, thumbnail } from "./api.js";
import { button, byId, make, notice } from "./dom.js";

const PAGE = 24;

export class Grid {
  constructor(open) {
    this.open = open;
    this.shown = new Map(); // list items by the picture's id
    byId("older").addEventListener("click", () => this.load(this.next));
  }

  /** Start over with the newest. */
  async reload() {
    for (const item of this.shown.values()) item.remove();
    this.shown.clear();
    await this.load();
  }

  async load(before) {
    const older = byId("older");
    older.disabled = true;
    byId("grid-notices").replaceChildren();
    const query = new URLSearchParams({ limit: PAGE, ...(before && { before }) });
    try {
      const { images, next_before: next } = await get(`/images?${query}`);
      const added = images.map((image) => this.add(image)).filter(Boolean);
      this.next = next;
      older.hidden = !next;
      byId("empty").hidden = this.shown.size > 0;
      if (before) added[0]?.querySelector("button").focus();
    } catch (problem) {
      if (!before) throw problem;
      byId("grid-notices").append(notice(problem, button("Try again", "secondary", () => this.load(before))));
    } finally {
      older.disabled = false;
    }
  }

  /** The new list item, or nothing where the picture is there already. */
  add(image, { isNew = false } = {}) {
    if (this.shown.has(image.image_id)) return undefined;
    const img = make("img", { alt: "", decoding: "async", loading: "lazy", width: 256, height: 256 });
    const item = make(
      "li",
      { class: isNew ? "new" : "" },
      make(
        "button",
        { type: "button", onclick: () => this.open(image.image_id) },
        img,
        make("span", { class: "caption" }, image.asked),
      ),
    );
    img.addEventListener("error", () => item.classList.add("missing"));
    this.shown.set(image.image_id, item);
    if (isNew) byId("grid").prepend(item);
    else byId("grid").append(item);
    byId("empty").hidden = true;
    show(img, thumbnail(image, devicePixelRatio > 1 ? 512 : 256));
    return item;
  }
}
