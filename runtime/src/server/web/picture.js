// One picture: what the model makes of it, and what the attack makes of that.

import { json } from "./door.js";
import { number, percent, text, time } from "./texts.js";

const at = (id) => document.getElementById(id);
const slider = at("eps");

let model = null;
let picture = null;
let before = null;
let under = null;
let waiting = null;

/** Whole steps of a grey level for L∞, eighths for L2. */
const unit = () => (model.norm === "linf" ? 1 / 255 : 1 / 8);
const written = () => (model.norm === "linf" ? `${slider.value}/255` : String(slider.value / 8));

function value(eps) {
  const [numerator, denominator = 1] = String(eps).split("/").map(Number);
  return numerator / denominator;
}

/** The attack's settings follow the model. */
export function use(chosen) {
  const { rift_norm: norm, rift_eps: eps, rift_largest_eps: largest } = chosen.parameters;
  model = { ...chosen.parameters, name: chosen.name, norm, canAttack: largest !== undefined };
  slider.disabled = !model.canAttack;
  if (model.canAttack) {
    slider.max = Math.round(largest / unit());
    slider.value = Math.round(value(eps) / unit());
    at("marks").replaceChildren(Object.assign(document.createElement("option"), { value: slider.value }));
    const share = slider.value / slider.max;
    at("trained").textContent = text("trained");
    // The thumb is 16 pixels wide and does not leave the track.
    at("trained").style.left = `calc(8px + (100% - 16px) * ${share})`;
    at("largest").textContent = norm === "linf" ? `${slider.max}/255` : String(slider.max / 8);
  }
  document.querySelector("[data-text=radius]").textContent = text("radius", { norm: norm === "linf" ? "L∞" : "L2" });
  at("tiles").classList.toggle("alone", !model.canAttack);
  at("classes").classList.toggle("unattacked", !model.canAttack);
  told();
  if (picture) look();
  else say(model.canAttack ? "" : text("off", { flag: "--enable-attack-demo" }));
}

function told() {
  at("eps-text").textContent = model.canAttack ? `ε = ${written()}` : "";
  slider.setAttribute("aria-valuetext", written());
}

function say(line, more = "", kind = "") {
  const small = document.createElement("small");
  small.textContent = more;
  at("verdict").className = `verdict ${kind}`;
  at("verdict").replaceChildren(line, ...(more ? [small] : []));
}

function cell(prediction, chosen, taken) {
  const made = document.createElement("td");
  if (!prediction) return made;
  const share = document.createElement("div");
  share.className = `share${taken ? " taken" : ""}${chosen ? " chosen" : ""}`;
  const bar = document.createElement("i");
  bar.style.width = `${Math.max(prediction.probability * 100, 0.5)}%`;
  const figure = document.createElement("span");
  figure.textContent = percent(prediction.probability);
  share.append(bar, figure);
  made.append(share);
  return made;
}

/** The likeliest classes before and after, those of before first. */
function table(after) {
  const known = new Map(before.predictions.map((one) => [one.class, one]));
  const shown = [...before.predictions.slice(0, 5)];
  for (const one of after?.slice(0, 3) ?? []) {
    if (!shown.some((other) => other.class === one.class)) shown.push(known.get(one.class) ?? one);
  }
  const rows = shown.map((one) => {
    const row = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = one.name;
    const [first, now] = [before.predictions[0].class, after?.[0].class];
    if (one.class === (now ?? first)) head.className = "chosen";
    const attacked = cell(after?.find((other) => other.class === one.class), one.class === now, one.class === now && now !== first);
    attacked.className = "attacked";
    row.append(head, cell(known.get(one.class), one.class === first, false), attacked);
    return row;
  });
  at("rows").replaceChildren(...rows);
  at("classes").hidden = false;
}

function watched() {
  const { rift_margin: margin, rift_stability: stability, rift_unstable: unstable } = before;
  let line = text("watched", { margin: number(margin, 2), stability: number(stability, 2), eps: model.rift_eps });
  if (unstable !== undefined && model.rift_threshold !== undefined) {
    line += ` ${text(unstable ? "unstable" : "stable", { threshold: number(model.rift_threshold, 2) })}`;
  } else if (model.rift_no_threshold) {
    line += ` ${text("no_threshold", { reason: model.rift_no_threshold })}`;
  }
  at("watched").textContent = line;
  at("watched").className = unstable ? "bad" : "";
}

const png = (base64) => `data:image/png;base64,${base64}`;
const told_error = (error) => {
  if (error.name !== "AbortError") say(error.message, "", "bad");
};

/** Takes a picture in. */
export function take(file) {
  picture = file;
  if (model) look();
}

async function look() {
  under?.abort();
  under = new AbortController();
  const { signal } = under;
  before = null;
  at("drop").hidden = true;
  at("tiles").hidden = false;
  at("original").src = URL.createObjectURL(picture);
  at("original").alt = text("alt_original");
  clear();
  say(text("classifying"));
  try {
    const query = `model=${encodeURIComponent(model.name)}`;
    const found = await json(`/v1/classify?${query}&rift_margin=true`, { method: "POST", body: picture, signal });
    before = found.images[0];
    if (model.rift_threshold === undefined) {
      // Measured when it was first asked for.
      Object.assign(model, (await json(`/v2/models/${encodeURIComponent(model.name)}`, { signal })).parameters);
    }
    watched();
    table();
    const [first] = before.predictions;
    const line = text("says", { class: first.name, share: percent(first.probability) });
    say(line, model.canAttack ? "" : text("off", { flag: "--enable-attack-demo" }));
    if (model.canAttack) await attack();
  } catch (error) {
    told_error(error);
  } finally {
    URL.revokeObjectURL(at("original").src);
  }
}

function clear() {
  for (const id of ["perturbation", "adversarial"]) {
    at(id).removeAttribute("src");
    at(id).alt = "";
  }
  at("times").textContent = "";
  at("save").hidden = true;
  at("last").classList.remove("flipped");
}

async function attack() {
  under?.abort();
  under = new AbortController();
  const { signal } = under;
  const [eps, [first]] = [written(), before.predictions];
  if (Number(slider.value) === 0) {
    clear();
    table();
    say(text("says", { class: first.name, share: percent(first.probability) }));
    return;
  }
  at("tiles").classList.add("busy");
  say(text("attacking", { eps }));
  try {
    show(await patient(`/v1/attack?model=${encodeURIComponent(model.name)}&eps=${eps}`, signal), eps);
  } catch (error) {
    told_error(error);
  } finally {
    if (!signal.aborted) at("tiles").classList.remove("busy");
  }
}

/** One attack at a time: the one before may need a moment to end. */
async function patient(path, signal) {
  for (let left = 20; ; left -= 1) {
    try {
      return await json(path, { method: "POST", body: picture, signal });
    } catch (error) {
      if (error.status !== 429 || left === 0) throw error;
      await new Promise((done) => setTimeout(done, 250));
      signal.throwIfAborted();
    }
  }
}

function show(found, eps) {
  const [first, [now]] = [before.predictions[0], found.adversarial.predictions];
  at("original").src = png(found.original.picture);
  at("perturbation").src = png(found.perturbation.picture);
  at("perturbation").alt = text("alt_perturbation");
  at("times").textContent = text("times", { times: number(found.perturbation.times) });
  at("adversarial").src = png(found.adversarial.picture);
  at("adversarial").alt = text("alt_adversarial", { class: now.name });
  at("save").href = png(found.adversarial.picture);
  at("save").hidden = false;
  at("last").classList.toggle("flipped", found.flipped);
  table(found.adversarial.predictions);
  const more = text("took", { gradients: found.gradients, seconds: time(found.seconds) });
  const values = { eps, before: first.name, after: now.name, share: percent(now.probability) };
  if (found.flipped) say(text("flipped", values), more, "bad");
  else if (found.blind) say(text("held", values), text("blind"), "bad");
  else say(text("held", values), more, "good");
}

slider.addEventListener("input", () => {
  told();
  clearTimeout(waiting);
  // Not at every step of a drag.
  waiting = setTimeout(() => before && attack(), 200);
});
