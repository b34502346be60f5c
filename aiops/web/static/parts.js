// Pieces that several views share: health, severity, names of things.

import { h } from "./dom.js";
import { age, ago, clock, duration } from "./format.js";

const SIGNS = { critical: "✕", warning: "!", info: "i", ok: "✓", silent: "?", resolved: "✓" };
const SEVERITIES = ["critical", "warning", "info"];
const WORDS = { silent: "no data", ok: "well" };

/** Colour, sign and word together: colour alone tells some people nothing. */
export function pill(health, text = WORDS[health] ?? health) {
  return h("span", { class: `pill ${health}` }, h("span", { "aria-hidden": "true" }, SIGNS[health] ?? "·"), ` ${text}`);
}

/** Sorting key: the worst first. */
export const rank = (severity) => SEVERITIES.indexOf(severity);

/** A moment as `4 min ago`, with the exact time to see. */
export function when(stamp) {
  return h("time", { datetime: stamp ?? null, title: stamp ? clock(stamp) : null }, ago(stamp));
}

/** How long something lasted, or lasts already. */
export function lasting(start, end) {
  return end ? `lasted ${duration((Date.parse(end) - Date.parse(start)) / 1000)}` : `for ${duration(age(start))}`;
}

/** A heading with a short hint beside it. */
export function heading(text, hint = "") {
  return h("h2", null, text, hint && h("small", null, ` ${hint}`));
}

/** A labelled number. */
export function stat(label, value, note = "") {
  return h("div", { class: "stat" }, h("dt", null, label), h("dd", null, value, note && h("small", null, ` ${note}`)));
}

/** Several of them in a row. */
export function stats(...items) {
  return h("dl", { class: "stats" }, items.filter(Boolean));
}

/** A share from 0 to 1 as a bar. */
export function bar(share, label) {
  return h("meter", { class: "bar", min: 0, max: 1, low: 0.7, high: 0.9, optimum: 0,
    value: Math.min(1, Math.max(0, share)), "aria-label": label });
}

/** What is left of a budget: full is good. */
export function left(share, label) {
  return h("meter", { class: "bar", min: 0, max: 1, low: 0.25, high: 0.5, optimum: 1,
    value: Math.min(1, Math.max(0, share)), "aria-label": label });
}

/** What an alert is about, from its labels. */
export function where(labels) {
  const hidden = new Set(["alertname", "severity", "signal", "stat"]);
  return Object.entries(labels).filter(([name]) => !hidden.has(name)).map(([name, value]) => `${name}=${value}`).join(" ");
}

/** Name of an entity with its kind. */
export function thing(entity) {
  return [h("span", { class: "dim" }, `${entity.kind} `), h("span", { class: "mono" }, entity.name)];
}
