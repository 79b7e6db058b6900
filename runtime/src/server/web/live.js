// Throughput and latency, from the server's own series.

import { ask } from "./door.js";
import { number, text } from "./texts.js";

const EVERY = 2000;
/** Points of the curve: two minutes. */
const POINTS = 60;

const rates = [];
let last = null;

/** The series of a model, or of the whole process, by name; histograms as [bound, count] pairs. */
function series(page, model) {
  const found = { buckets: [] };
  for (const line of page.split("\n")) {
    const match = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (!match) continue;
    const [, name, labels = "", value] = match;
    if (labels.includes("model=") && !labels.includes(`model="${model}"`)) continue;
    if (name === "rift_request_seconds_bucket") {
      const bound = /le="([^"]+)"/.exec(labels)[1];
      found.buckets.push([bound === "+Inf" ? Infinity : Number(bound), Number(value)]);
    } else {
      found[name] = (found[name] ?? 0) + Number(value);
    }
  }
  return found;
}

/** Counts by bound, of all versions of the model, less those of before. */
function since(now, before) {
  const counts = new Map();
  const add = (pairs, sign) => pairs.forEach(([bound, count]) => counts.set(bound, (counts.get(bound) ?? 0) + sign * count));
  add(now, 1);
  add(before, -1);
  return [...counts].sort((a, b) => a[0] - b[0]);
}

/** The quantile of a cumulative histogram, even within a bucket. */
function quantile(counts, share) {
  const all = counts.at(-1)?.[1] ?? 0;
  if (all <= 0) return null;
  let [low, below] = [0, 0];
  for (const [bound, count] of counts) {
    if (count >= share * all) {
      if (bound === Infinity) return low;
      return low + (bound - low) * ((share * all - below) / Math.max(count - below, 1));
    }
    [low, below] = [bound, count];
  }
  return low;
}

function draw(rate) {
  rates.push(rate);
  if (rates.length > POINTS) rates.shift();
  const most = Math.max(1, ...rates);
  const from = POINTS - rates.length;
  const points = rates.map((one, at) => `${((from + at) / (POINTS - 1)) * 240} ${46 - (one / most) * 42}`);
  const spark = document.getElementById("spark");
  spark.querySelector(".line").setAttribute("d", `M${points.join("L")}`);
  spark.querySelector(".area").setAttribute("d", `M${(from / (POINTS - 1)) * 240} 48L${points.join("L")}L240 48Z`);
  spark.setAttribute("aria-label", text("spark", { rate: number(rate, rate < 10 ? 1 : 0) }));
}

function facts(found) {
  const lines = [["images", number(found.rift_images_total ?? 0)], ["busy", number(found.rift_busy_cores ?? 0)], ["waiting", number(found.rift_queue_requests ?? 0)]];
  if (found.process_resident_memory_bytes) lines.push(["memory", `${number(found.process_resident_memory_bytes / 2 ** 20)} MiB`]);
  if ("rift_unstable_recent" in found) {
    const watched = Math.min(1000, found.rift_watched_images_total ?? 0);
    lines.push(["unstable_recent", `${number(found.rift_unstable_recent)} / ${number(watched)}`]);
  }
  const entries = lines.flatMap(([name, value]) => {
    const [term, detail] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = text(name);
    detail.textContent = value;
    return [term, detail];
  });
  document.getElementById("facts").replaceChildren(...entries);
}

function show(found, now) {
  if (last && last.model === found.model) {
    const rate = Math.max(0, (found.rift_images_total - last.found.rift_images_total) / ((now - last.at) / 1000));
    draw(rate);
    document.getElementById("rate").textContent = number(rate, rate > 0 && rate < 10 ? 1 : 0);
    const fresh = since(found.buckets, last.found.buckets);
    const counts = fresh.at(-1)?.[1] > 0 ? fresh : since(found.buckets, []);
    for (const [place, share] of [["p50", 0.5], ["p95", 0.95]]) {
      const seconds = quantile(counts, share);
      if (seconds !== null) document.getElementById(place).textContent = number(seconds * 1000, seconds < 0.01 ? 2 : 0);
    }
  }
  facts(found);
  last = { model: found.model, found, at: now };
}

/** Follows the series of the model that `model()` names while the page is seen; `ready` hears how the server is. */
export function follow(model, ready) {
  const look = async () => {
    if (!document.hidden) {
      try {
        const found = series(await (await ask("/metrics")).text(), model());
        show({ ...found, model: model() }, performance.now());
        ready(found.rift_ready === 1 ? "ready" : "not_ready");
      } catch {
        ready("gone");
      }
    }
    setTimeout(look, EVERY);
  };
  look();
}
