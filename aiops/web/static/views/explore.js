// Any signal of any entity: value, expected band, anomaly ribbon and the score of every detector; replicas side by side
// or in one chart. A span drawn with the mouse asks what else changed then.

import { get } from "../api.js";
import { Charts, drawable, frameOf, place } from "../chart.js";
import { h, table } from "../dom.js";
import { clock, entityText, exploreLink, number, signalName } from "../format.js";
import { heading, pill, thing } from "../parts.js";

const SHOWN = 12;

export default function explore({ query }, { refresh }) {
  const asked = { signal: query.get("signal") ?? "", stat: query.get("stat") ?? "", entity: query.get("entity") ?? "",
    together: query.get("together") === "1", from: Number(query.get("from")) || null, to: Number(query.get("to")) || null };
  const go = (changes) => {
    const next = Object.entries({ ...asked, ...changes }).filter(([, value]) => value);
    location.hash = `#/explore?${new URLSearchParams(next.map(([name, value]) => [name, value === true ? "1" : value]))}`;
  };
  const charts = new Charts((from, to) => go({ from: from.toFixed(1), to: to.toFixed(1) }));
  let answer = null;
  let changes = null;
  let frames = [];
  return {
    async load() {
      const names = (await get("signals/names")).names;
      if (!asked.signal) Object.assign(asked, preferred(names));
      answer = asked.signal ? await get("signals/range", { signal: asked.signal, stat: asked.stat, entity: asked.entity, limit: SHOWN }) : null;
      if (asked.from && changes === null) changes = await get("signals/changes", { from: asked.from, to: asked.to });
      return { names, answer, changes };
    },
    render({ names }) {
      frames = framesOf(answer, asked);
      return [h("h1", null, "Explore"), controls(names, asked, go), about(answer, asked),
        h("div", { class: "charts", "data-key": `${asked.signal}/${asked.stat}/${asked.entity}/${asked.together}` }, frames.map((one) => one.element)),
        unseen(answer),
        answer?.more ? h("p", { class: "dim" }, `${answer.more} more fit; name an entity to see them.`) : null,
        changes ? changed(changes, asked, go) : answer && chooseSpan(answer, go)];
    },
    drawn: () => frames.forEach(({ key, frame }) => charts.draw(document.getElementById("main"), key, frame)),
    close: () => charts.close(),
    refresh,
  };
}

function preferred(names) {
  const first = ["queue_len", "gpu_util"].map((name) => names.find((one) => one.signal === name)).find(Boolean) ?? names[0];
  return first ? { signal: first.signal, stat: first.stats.includes("p95") ? "p95" : first.stats[0] } : {};
}

function controls(names, asked, go) {
  const now = names.find((one) => one.signal === asked.signal);
  const stats = now?.stats ?? [asked.stat];
  const choose = (name) => (event) => go({ [name]: event.target.value, from: null, to: null });
  const pick = (event) => {
    const stat = names.find((one) => one.signal === event.target.value)?.stats ?? [""];
    go({ signal: event.target.value, stat: stat.includes(asked.stat) ? asked.stat : stat.includes("p95") ? "p95" : stat[0], from: null, to: null });
  };
  return h("form", { class: "controls", "data-key": "controls", onsubmit: (event) => event.preventDefault() },
    h("label", null, "signal ", h("select", { onchange: pick },
      names.map((one) => h("option", { value: one.signal, selected: one.signal === asked.signal }, `${one.signal} (${one.series})`)))),
    stats.length > 1 || stats[0] ? h("label", null, "statistic ", h("select", { onchange: choose("stat") },
      stats.map((one) => h("option", { value: one, selected: one === asked.stat }, one || "value")))) : null,
    h("label", null, "entity ", h("input", { type: "search", value: asked.entity, placeholder: "any part of its labels", onchange: choose("entity") })),
    h("label", null, h("input", { type: "checkbox", checked: asked.together, onchange: (event) => go({ together: event.target.checked }) }), " in one chart"));
}

function about(answer, asked) {
  const first = answer?.series[0];
  if (!first) return h("p", { class: "calm" }, asked.signal ? "No series fits." : "Nothing has been read yet.");
  return h("p", null, h("strong", null, signalName(asked.signal, asked.stat)), `, ${first.unit}. ${first.meaning}`);
}

function framesOf(answer, asked) {
  const all = (answer?.series ?? []).filter((one) => one.values && drawable(one));
  if (!asked.together || all.length < 2) return all.map((one) => single(answer, one, asked));
  const frame = { at: answer.at, unit: all[0].unit, lines: all.map((one) => ({ label: one.entity.name, values: one.values })), marks: spans(asked) };
  return [{ key: "together", frame, element: h("figure", { "data-key": "together" }, place("together")) }];
}

/** Those that an empty chart each would stand for. */
function unseen(answer) {
  const all = (answer?.series ?? []).filter((one) => one.values && !drawable(one));
  return all.length ? h("p", { class: "dim" }, "Not known in this window, for too few requests or because the target does not say: ",
    all.map((one, index) => [index ? ", " : "", thing(one.entity)])) : null;
}

const spans = ({ from, to }) => (from ? [{ at: from, label: "from", colour: "--accent" }, { at: to, label: "to", colour: "--accent" }] : []);

function single(answer, series, asked) {
  const key = entityText(series.entity);
  const worst = Math.max(0, ...Object.values(series.votes));
  const element = h("figure", { "data-key": key },
    h("figcaption", null, h("a", { href: exploreLink(series.signal, series.stat, key) }, thing(series.entity)), " ",
      series.learning ? pill("silent", "still being learnt") : worst >= 1 ? pill("warning", "unusual") : null,
      Object.entries(series.votes).map(([name, score]) => h("span", { class: score >= 1 ? "vote critical" : "vote" }, `${name} ${score.toFixed(1)}`))),
    place(key));
  return { key, element, frame: frameOf(answer, series, spans(asked)) };
}

/** Two times, for those who draw no span with a mouse. */
function chooseSpan(answer, go) {
  const submit = (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    const [from, to] = ["from", "to"].map((name) => Date.parse(form.get(name)) / 1000);
    if (from < to) go({ from: from.toFixed(1), to: to.toFixed(1) });
  };
  const last = answer.at.at(-1) ?? Date.now() / 1000;
  const moment = (name, at) => h("label", null, `${name} `, h("input", { type: "datetime-local", step: "1", name, required: true, value: local(at) }));
  return h("section", null, heading("What changed", "draw a span in a chart, or say when"),
    h("form", { class: "controls", "data-key": "span", "data-kept": true, onsubmit: submit },
      moment("from", last - 300), moment("to", last), h("button", null, "Show")));
}

/** UTC seconds as an input for local time takes them. */
function local(at) {
  const here = new Date(at * 1000);
  return new Date(here - here.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

function changed(changes, asked, go) {
  return h("section", null,
    heading("What changed", `between ${clock(asked.from)} and ${clock(asked.to)}, against before`),
    h("p", null, h("button", { type: "button", "data-key": "forget", onclick: () => go({ from: null, to: null }) }, "Forget the span")),
    table(["distance", "signal", "entity", "before", "then"], changes.changes.map((one) => [
      one.distance.toFixed(1), h("a", { href: exploreLink(one.signal, one.stat, entityText(one.entity)) }, signalName(one.signal, one.stat)),
      thing(one.entity), number(one.before, one.unit), number(one.then, one.unit)]),
    "Nothing left its usual range then.", "What changed"));
}
