// The way to the server: with a token where it asks for one.

import { text } from "./texts.js";

// In memory alone: neither a cookie nor storage, so that no other page and no later visit finds it.
let token = null;
let asking = null;

const dialog = document.getElementById("door");
const field = document.getElementById("token");

/** Asks for a token until one is given. */
function enter(wrong) {
  asking ??= new Promise((resolve) => {
    document.getElementById("door-wrong").textContent = wrong ? text("token_wrong") : "";
    field.value = "";
    dialog.oncancel = (event) => event.preventDefault();
    dialog.onclose = () => {
      token = field.value.trim();
      field.value = "";
      asking = null;
      resolve();
    };
    dialog.showModal();
  });
  return asking;
}

/** The answer of the server at `path`, whatever its status but 401. */
export async function ask(path, options = {}) {
  for (;;) {
    const used = token;
    const headers = { ...options.headers, ...(used && { Authorization: `Bearer ${used}` }) };
    const response = await fetch(path, { ...options, headers });
    if (response.status !== 401) return response;
    // Another request may have asked meanwhile.
    if (used === token) await enter(used !== null);
  }
}

/** What the server says at `path`, in JSON. */
export async function json(path, options) {
  const response = await ask(path, options);
  const body = await response.json();
  if (!response.ok) throw Object.assign(new Error(body.error), { status: response.status });
  return body;
}

/** Makes a link fetch what it points at with the token, and save it under `name`. */
export function guarded(link, name) {
  link.addEventListener("click", async (event) => {
    if (token === null) return;
    event.preventDefault();
    const content = await (await ask(link.href)).blob();
    const saved = document.createElement("a");
    saved.href = URL.createObjectURL(content);
    saved.download = name;
    saved.click();
    setTimeout(() => URL.revokeObjectURL(saved.href), 60000);
  });
}
