// The page: which model, which picture, and what follows from that.

import * as audit from "./audit.js";
import { guarded, json } from "./door.js";
import * as live from "./live.js";
import * as picture from "./picture.js";
import { speak, text } from "./texts.js";

const at = (id) => document.getElementById(id);

/** How often the audit and the models are looked at. */
const EVERY = 30000;
let chosen = null;

async function use(name) {
  chosen = name;
  const model = await json(`/v2/models/${encodeURIComponent(name)}`);
  const [stats] = (await json(`/v2/models/${encodeURIComponent(name)}/stats`)).model_stats;
  at("digest").textContent = `v${stats.version} · ${model.inputs[0].shape.slice(1).join("×")} → ${model.outputs[0].shape[1]}`;
  picture.use(model);
  await audit.show(name);
}

async function models() {
  const index = await json("/v2/repository/index", { method: "POST", body: '{"ready": true}' });
  const names = [...new Set(index.map((line) => line.name))];
  const known = [...at("model").options].map((option) => option.value);
  if (names.join("\n") !== known.join("\n")) {
    at("model").replaceChildren(...names.map((name) => new Option(name, name, false, name === chosen)));
  }
  if (names.length === 0) {
    at("verdict").textContent = text("no_model");
  } else if (!names.includes(chosen)) {
    await use(names[0]);
  }
}

function ready(state) {
  if (at("ready").dataset.state === state) return;
  at("ready").dataset.state = state;
  at("ready").textContent = text(state);
  at("ready").className = `pill ${state === "ready" ? "good" : "bad"}`;
  if (state === "ready") models();
}

/** Pictures come by the button, by drag and drop and by paste. */
function receive() {
  const first = (files) => [...files].find((file) => file.type === "image/png" || file.type === "image/jpeg");
  const take = (files) => {
    const file = first(files);
    if (file) picture.take(file);
  };
  at("file").addEventListener("change", (event) => take(event.target.files));
  const over = (event) => {
    event.preventDefault();
    document.body.classList.toggle("over", event.type === "dragover");
  };
  for (const name of ["dragover", "dragleave", "drop"]) document.addEventListener(name, over);
  document.addEventListener("drop", (event) => take(event.dataTransfer.files));
  document.addEventListener("paste", (event) => take(event.clipboardData.files));
}

speak();
receive();
for (const link of document.querySelectorAll("footer a")) guarded(link, link.pathname.slice(1));
at("model").addEventListener("change", () => use(at("model").value));
setInterval(() => {
  if (document.hidden) return;
  models();
  if (chosen) audit.show(chosen);
}, EVERY);
live.follow(() => chosen, ready);
