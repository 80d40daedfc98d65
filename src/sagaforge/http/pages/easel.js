// Pictures being painted: a panel for each request, a canvas for each of its pictures.

import { generate, newKey, show } from "./api.js";
import { announce, button, byId, make, notice } from "./dom.js";

/** Paint what `request` asks for. `onPicture(image)` gets each as it is finished; `open(id)` shows one. */
export function paint(request, onPicture, open) {
  for (const old of byId("easel").querySelectorAll(".job:not([data-state=active])")) old.remove();
  const job = new Job(request, onPicture, open);
  byId("easel").prepend(job.node);
  job.node.scrollIntoView({ block: "nearest" });
  job.run();
}

class Job {
  constructor(request, onPicture, open) {
    this.request = request;
    this.onPicture = onPicture;
    this.open = open;
    this.idempotencyKey = newKey();
    this.state = make("p", { class: "job-state" });
    this.buttons = make("div", { class: "row" });
    this.canvases = make("div", { class: "canvases" });
    this.trouble = make("div");
    this.node = make(
      "article",
      { class: "job", "aria-label": `Painting: ${request.prompt}` },
      make(
        "header",
        {},
        make("div", { class: "job-words" }, make("p", { class: "job-prompt" }, request.prompt), this.state),
        this.buttons,
      ),
      this.canvases,
      this.trouble,
    );
  }

  /** From the request to the last picture. Under the same key, so a second try repeats no work that is done. */
  async run() {
    const started = performance.now();
    const stopper = new AbortController();
    this.images = Array.from({ length: this.request.num_images }, () => new Canvas());
    this.finished = new Set();
    this.canvases.replaceChildren(...this.images.map((canvas) => canvas.node));
    this.node.dataset.count = this.images.length;
    this.trouble.replaceChildren();
    this.node.dataset.state = "active";
    this.buttons.replaceChildren(button("Cancel", "secondary", () => stopper.abort()));
    this.say("Sending it to the painter…");
    try {
      for await (const { name, data } of generate(this.request, this.idempotencyKey, stopper.signal)) {
        this.take(name, data);
      }
      this.end("done", `Painted in ${((performance.now() - started) / 1000).toFixed(1)} s`);
    } catch (problem) {
      if (stopper.signal.aborted) this.end("cancelled", "Cancelled");
      else this.end("failed", "Not painted", notice(problem));
    }
  }

  take(name, data) {
    if (name === "started") {
      data.images.forEach((image, number) => this.images[number]?.size(image.width, image.height));
      this.wait();
    } else if (name === "step") {
      this.images[data.image]?.step(data);
      this.say(`Painting, step ${data.done} of ${data.total}`);
    } else if (name === "image") {
      const { image: number, ...image } = data;
      this.finish(number, image);
    } else if (name === "done") {
      data.images.forEach((image, number) => this.finish(number, image));
    }
  }

  /** A painter that nobody used for a while is asleep. */
  wait() {
    this.say("Waking the painter…");
    this.node.classList.add("waking");
    const since = performance.now();
    // Not said aloud each second.
    const seconds = make("span", { "aria-hidden": "true" });
    this.state.append(seconds);
    this.clock = setInterval(() => {
      const passed = Math.round((performance.now() - since) / 1000);
      seconds.textContent = passed < 3 ? "" : ` ${passed} s. It sleeps while nobody paints; waking takes about 20 s.`;
    }, 1000);
  }

  say(text) {
    clearInterval(this.clock);
    this.node.classList.remove("waking");
    const isNew = !this.said?.startsWith(text.split(",")[0]);
    this.state.textContent = this.said = text;
    if (isNew) announce(text);
  }

  finish(number, image) {
    if (this.finished.has(number)) return;
    this.finished.add(number);
    this.images[number]?.finish(image, this.request.prompt, () => this.open(image.image_id));
    this.onPicture({ ...image, asked: this.request.prompt, created_at: new Date().toISOString() });
  }

  end(state, text, trouble) {
    this.say(text);
    this.node.dataset.state = state;
    // What never came would go on looking as if it were to come.
    this.images.forEach((canvas, number) => this.finished.has(number) || canvas.node.remove());
    if (trouble) this.trouble.replaceChildren(trouble);
    this.buttons.replaceChildren(
      ...(state === "done" ? [] : [button("Try again", "secondary", () => this.run())]),
      button("Dismiss", "quiet", () => this.node.remove()),
    );
  }
}

class Canvas {
  constructor() {
    this.img = make("img", { alt: "", hidden: true });
    this.percent = make("span");
    this.ring = make(
      "div",
      { class: "ring", role: "progressbar", "aria-label": "Progress", "aria-valuemin": 0, "aria-valuemax": 100 },
      this.percent,
    );
    this.node = make("div", { class: "canvas" }, this.img, this.ring);
    this.progress(0);
  }

  size(width, height) {
    this.node.style.aspectRatio = `${width} / ${height}`;
  }

  step({ done, total, preview }) {
    this.progress(done / total);
    if (!preview) return;
    this.img.hidden = false;
    this.img.src = preview;
  }

  progress(part) {
    const percent = Math.round(100 * part);
    this.node.style.setProperty("--done", part);
    this.ring.setAttribute("aria-valuenow", percent);
    this.percent.textContent = percent ? `${percent}%` : "";
  }

  finish(image, prompt, open) {
    this.size(image.metadata.width, image.metadata.height);
    this.progress(1);
    this.node.classList.add("finished");
    this.ring.remove();
    this.img.hidden = false;
    show(this.img, image.image_url);
    const cover = { type: "button", class: "cover", "aria-label": `Open: ${prompt}`, onclick: open };
    this.node.append(make("button", cover));
  }
}
