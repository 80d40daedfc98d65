// The gallery page: its parts, and what they tell each other.

import { forgetKey, get, keepKey, key, onLocked } from "./api.js";
import { button, byId, notice } from "./dom.js";
import { paint } from "./easel.js";
import { Form } from "./form.js";
import { Grid } from "./grid.js";
import { Viewer } from "./viewer.js";

const form = new Form((request) => paint(request, (image) => grid.add(image, { isNew: true }), open));
const viewer = new Viewer(form, (receipt, seed) => form.fill(receipt, seed));
const grid = new Grid(open);

function open(id) {
  viewer.open(id);
}

async function start() {
  byId("lock").hidden = true;
  byId("studio").hidden = false;
  byId("forget-key").hidden = !key();
  byId("notices").replaceChildren();
  const loaded = await Promise.allSettled([loadStyles(), loadModels(), grid.reload()]);
  const problem = loaded.map((part) => part.reason).find((reason) => reason && reason.status !== 401);
  if (problem) byId("notices").append(notice(problem, button("Try again", "secondary", start)));
  if (byId("lock").hidden && location.hash && !byId("viewer").open) viewer.follow();
}

async function loadStyles() {
  form.setStyles((await get("/t2i/styles")).styles);
}

async function loadModels() {
  const list = await get("/t2i/models");
  form.setModels(list);
  byId("painter").hidden = list.models.length === 0;
  byId("painter").textContent = list.models[0]?.model_id ?? "";
}

onLocked((problem) => {
  // To somebody who has given no key yet, the reason is none.
  byId("lock-reason").textContent = key() ? problem.detail : "";
  if (!byId("lock").hidden) return;
  byId("lock").hidden = false;
  byId("studio").hidden = true;
  byId("key").focus();
});

byId("lock").addEventListener("submit", (event) => {
  event.preventDefault();
  const given = byId("key").value.trim();
  // Nothing else can travel in a header.
  if (!/^[\x21-\x7e]+$/.test(given)) {
    byId("lock-reason").textContent = "A key consists of ASCII characters, without a space.";
    return;
  }
  keepKey(given);
  byId("key").value = "";
  start();
});

byId("forget-key").addEventListener("click", () => {
  forgetKey();
  location.reload();
});

start();
