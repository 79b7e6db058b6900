// The last audit of the model.

import { guarded, json } from "./door.js";
import { number, percent, text, time } from "./texts.js";

const place = document.getElementById("audit");

function element(name, content = "", kind = "") {
  const made = document.createElement(name);
  if (content) made.textContent = content;
  if (kind) made.className = kind;
  return made;
}

function figure(value, name, kind) {
  const made = element("p", "", `figure ${kind}`);
  made.append(element("b", percent(value)), element("span", name));
  return made;
}

function link(href, name, file) {
  const made = element("a", name);
  Object.assign(made, { href, target: "_blank", rel: "noopener" });
  guarded(made, file);
  return made;
}

function bar(shares) {
  const track = element("div", "", "track");
  track.setAttribute("aria-hidden", "true");
  for (const share of shares) {
    const length = element("i");
    length.style.width = `${share * 100}%`;
    track.append(length);
  }
  return track;
}

/** Shows the audit of `model`. */
export async function show(model) {
  const { minimum, audits } = await json("/v1/audit");
  const of = audits.filter((one) => one.model_name === model);
  // A newer version that was refused says nothing of the one that answers.
  const audit = of.filter((one) => one.served).at(-1) ?? of.at(-1);
  if (!audit) {
    const flag = "--audit-gate";
    const lines = [text("no_audit"), text("hint", { flag })];
    place.replaceChildren(...lines.map((line) => element("p", line, "quiet")));
    return;
  }
  const figures = element("div", "", "figures");
  figures.append(
    figure(audit.robust_accuracy, text("robust"), "main"),
    figure(audit.clean_accuracy, text("clean"), ""),
  );
  const [lower, upper] = [audit.interval.lower, audit.interval.upper].map((one) => percent(one));
  const { norm, eps } = audit.threat;
  const names = [...new Set(audit.attacks)].join(", ");
  const within = { norm: norm === "linf" ? "L∞" : "L2", eps };
  const share = percent(audit.robust_accuracy);
  const what = text("audited", { share, n: number(audit.n), attacks: names, ...within, lower, upper });
  const gate = element("p", text(audit.passed ? "passed" : "failed", { minimum: percent(minimum) }), audit.passed ? "good" : "bad");
  const made = text("made", { ago: time(audit.age_seconds), seconds: time(audit.seconds) });
  const path = `/v1/audit/${encodeURIComponent(model)}`;
  const links = element("p", "", "links");
  links.append(link(`${path}/report`, text("report"), "audit.html"), link(path, text("json"), "audit.json"));
  const parts = [figures, bar([audit.clean_accuracy, audit.robust_accuracy]), element("p", what), gate, element("p", made, "quiet")];
  if (audit.warnings.length > 0) {
    const warnings = element("details", "", "warnings");
    warnings.append(element("summary", text("warnings", { n: audit.warnings.length })));
    warnings.append(...audit.warnings.map((warning) => element("p", warning)));
    parts.push(warnings);
  }
  place.replaceChildren(...parts, links);
}
