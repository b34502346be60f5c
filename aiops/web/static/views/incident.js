// One incident: what happened, why, and the signals that show it.

import { get, post } from "../api.js";
import { Charts, frameOf, place } from "../chart.js";
import { h, table } from "../dom.js";
import { clock, entityText, exploreLink, number, part, signalName } from "../format.js";
import { heading, lasting, pill, thing, when } from "../parts.js";

const MOST_CHARTS = 8;
const PARTS = { what: "What", since: "Since", impact: "Impact", cause: "Likely cause", ruled_out: "Ruled out",
  changes: "Changes", actions: "What to do", confidence: "How sure" };

export default function incident({ rest }, { refresh }) {
  const charts = new Charts();
  let frames = [];
  return {
    async load() {
      const [{ incident: one }, { alerts }, { feedback: said }] = await Promise.all(
        [get(`incidents/${encodeURIComponent(rest)}`), get("alerts"), get("feedback")]);
      const mine = alerts.filter((alert) => alert.incident === one.id);
      const series = distinct(mine, one.diagnosis).slice(0, MOST_CHARTS);
      const ranges = await Promise.all(series.map((key) => get("signals/range", { ...key, limit: 1 })));
      return { one, mine, ranges, said: said.filter((saying) => saying.incident === one.id && !saying.undoneAt) };
    },
    render({ one, mine, ranges, said }) {
      const marks = marksOf(one);
      frames = ranges.filter((answer) => answer.series.length).map((answer) => {
        const [series] = answer.series;
        const key = `${series.signal}/${series.stat}/${entityText(series.entity)}`;
        return { key, frame: frameOf(answer, series, marks), element: figure(key, series) };
      });
      return [
        h("p", null, h("a", { href: "#/" }, "← overview")),
        h("div", { class: `headline ${one.state === "open" ? one.severity : "ok"}` }, h("h1", null, one.title),
          h("p", null, pill(one.state === "open" ? one.severity : "resolved", one.state === "open" ? one.severity : "over"),
            ` since ${clock(one.startsAt)}, ${lasting(one.startsAt, one.endsAt)} · ${one.id}`)),
        h("div", { class: "columns" },
          h("section", null, told(one)),
          h("section", null, diagnosis(one.diagnosis), runbooks(mine), feedback(one, said, refresh))),
        frames.length ? h("section", null, heading("Signals", "band: what was expected; strip: how unusual"), h("div", { class: "charts" }, frames.map((item) => item.element))) : null,
        heading("Alerts", String(one.alerts.length)),
        table(["state", "alert", "series", "why"], one.alerts.map((alert) => [
          alert.state ? pill({ firing: one.severity, resolving: "info" }[alert.state] ?? "resolved", alert.state) : "forgotten",
          h("strong", null, alert.alertname), seriesOf(alert), alert.reason ?? ""]), "Its alerts are forgotten.", "Alerts"),
      ];
    },
    drawn: () => frames.forEach(({ key, frame }) => charts.draw(document.getElementById("main"), key, frame)),
    close: () => charts.close(),
  };
}

/** `queue_len replica 10.0.0.1:8000`, with a link to its chart. */
function seriesOf({ series, entity }) {
  const [signal, stat = ""] = series.split(" of ")[0].split(":");
  return [h("a", { href: exploreLink(signal, stat, entityText(entity)) }, signalName(signal, stat)), " ", thing(entity)];
}

/** The series that the alerts watch, and those that speak for the likeliest cause; each once. */
function distinct(alerts, diagnosis) {
  const found = new Map();
  const add = (signal, stat, entity) => found.set(`${signal} ${stat} ${entity}`, { signal, stat, entity: part(entity) });
  for (const { labels } of alerts) {
    const { alertname, severity, signal, stat = "", ...entity } = labels;
    const pairs = Object.entries(entity).sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, value]) => `${name}="${value}"`);
    if (signal) add(signal, stat, `{${pairs.join(",")}}`);
  }
  const cited = new Set(diagnosis?.causes[0]?.evidence ?? []);
  for (const { id, series } of diagnosis?.evidence ?? []) {
    if (series && cited.has(id)) add(series.signal, series.stat, entityText(series.entity).replace(/^[a-z]+/, ""));
  }
  return [...found.values()];
}

function marksOf(one) {
  const changes = (one.diagnosis?.changes ?? []).map((mark) => ({ at: Date.parse(mark.at) / 1000, label: mark.kind, colour: "--accent" }));
  const end = one.endsAt ? [{ at: Date.parse(one.endsAt) / 1000, label: "over", colour: "--ok" }] : [];
  return [{ at: Date.parse(one.startsAt) / 1000, label: "began", colour: "--critical" }, ...end, ...changes];
}

function figure(key, series) {
  return h("figure", { "data-key": key }, h("figcaption", null,
    h("a", { href: exploreLink(series.signal, series.stat, entityText(series.entity)) }, signalName(series.signal, series.stat)), " ", thing(series.entity)), place(key));
}

/** The summary, a line per sentence; words of a model are marked. What "Why" lists with its charts is not said twice. */
function told({ summary, diagnosis: found }) {
  const listed = new Set(found?.causes[0]?.evidence ?? []);
  const sentences = (summary?.sentences ?? []).filter((one) => !(one.part === "cause" && one.evidence.length === 1 && listed.has(one.evidence[0])));
  const parts = Object.keys(PARTS).map((name) => [name, sentences.filter((one) => one.part === name)]).filter(([, some]) => some.length);
  const cited = cites(found);
  return [heading("Summary"), worded(summary?.model, cited),
    h("dl", { class: "told" }, parts.map(([name, some]) => [h("dt", null, PARTS[name]), h("dd", null, some.map((one) => h("p", null, cited(one.text))),
      name === "ruled_out" && found?.ruledOut.length > some.length
        ? h("p", { class: "dim" }, `And ${found.ruledOut.slice(some.length).map((one) => one.cause).join(", ")}.`) : null)]))];
}

/** A text whose `[E1, E2]` lead to the charts of these facts. */
function cites(found) {
  const facts = new Map((found?.evidence ?? []).map((one) => [one.id, one]));
  const link = (id) => {
    const series = facts.get(id)?.series;
    return series ? h("a", { href: exploreLink(series.signal, series.stat, entityText(series.entity)), title: facts.get(id).text }, id) : id;
  };
  return (text) => text.split(/(?<=\[|, )(E\d+)(?=\]|,)/).map((piece, index) => (index % 2 ? link(piece) : piece));
}

/** What a language model says, named as such, with what was not published and why that may matter. */
function worded(model, cited) {
  if (!model) return null;
  const order = model.disputedOrder.length ? `It would order the causes ${model.disputedOrder.join(", ")}. ` : "";
  return h("blockquote", { class: "model" }, h("p", null, model.sentences.length ? model.sentences.map((one) => [cited(one.text), " "])
    : "Nothing that it said could be shown to be true."),
  h("p", { class: "dim" }, `Worded by the language model ${model.name} and checked against the evidence; `
    + `${model.droppedSentences} sentences were dropped. ${order}${model.warning}`));
}

function diagnosis(found) {
  if (!found) return null;
  const evidence = new Map(found.evidence.map((one) => [one.id, one]));
  const cited = (ids) => h("ul", { class: "evidence" }, ids.map((id) => evidence.get(id)).filter(Boolean).map((one) => h("li", null, fact(one))));
  return [heading("Why", `ranked by ${found.ranker}`), found.abstained ? h("p", null, found.reason) : null,
    h("ol", { class: "causes" }, found.causes.map((cause) => h("li", null, h("strong", null, cause.title), " ", thing(cause.entity),
      h("span", { class: "dim" }, ` ${number(cause.confidence, "ratio")} of its signs seen`), h("p", null, cause.fix), cited(cause.evidence)))),
    found.changes.length ? [heading("Changes before it"), h("ul", { class: "plain" }, found.changes.map((one) =>
      h("li", null, `${clock(one.at)} ${one.kind}: ${one.detail}`)))] : null];
}

/** A fact with the way to see it again: its chart, and the query for Prometheus. */
function fact(one) {
  const { series } = one;
  return [h("span", { class: "dim" }, `${one.id} `),
    series ? h("a", { href: exploreLink(series.signal, series.stat, entityText(series.entity)) }, measured(one)) : one.text,
    one.query ? h("details", { class: "query" }, h("summary", null, "query"), h("code", null, one.query)) : null];
}

/** `tokens_out replica 10.0.0.1:8000: 0 tokens/s, 274 tokens/s expected`. */
function measured({ series, value, expected, unit, text }) {
  if (!Number.isFinite(value)) return text.replace(entityText(series.entity), `${series.entity.kind} ${series.entity.name}`);
  const [seen, usual] = [number(value, unit), number(expected, unit)];
  return [signalName(series.signal, series.stat), ` ${series.entity.kind} ${series.entity.name}: `, h("strong", null, seen),
    Number.isFinite(expected) ? seen === usual ? ", as expected" : `, ${usual} expected` : ""];
}

const JUDGEMENTS = [["true", "Something was wrong"], ["false", "False alarm"], ["expected", "Expected: planned or usual"]];

/** What people said of it, and the buttons to say it. */
function feedback(one, said, refresh) {
  const send = (path, body) => async (event) => {
    const place = event.currentTarget.closest("form");
    const note = place.querySelector("input")?.value.trim() ?? "";
    try {
      await post(path, note ? { ...body, note } : body);
      place.reset();
      place.querySelector("output").textContent = "";
      refresh();
    } catch (error) {
      place.querySelector("output").textContent = error.message;
    }
  };
  const words = Object.fromEntries(JUDGEMENTS);
  return [heading("Was it right?"),
    h("form", { class: "controls", "data-key": `feedback ${one.id}`, onsubmit: (event) => event.preventDefault() },
      h("label", null, "note ", h("input", { type: "search", maxlength: 1000 })),
      JUDGEMENTS.map(([value, text]) => h("button", { type: "button", onclick: send("feedback", { incident: one.id, judgement: value }) }, text)),
      h("output", { class: "critical", role: "status" })),
    said.map((saying) => h("form", { class: "said", "data-key": saying.id, onsubmit: (event) => event.preventDefault() },
      h("p", null, h("strong", null, words[saying.judgement] ?? saying.judgement), ` on ${saying.alertname}, `, when(saying.at),
        saying.note ? ` (${saying.note})` : "", saying.effects.length ? `: ${saying.effects.join("; ")}. ` : ". ",
        h("button", { type: "button", onclick: send(`feedback/${saying.id}/undo`, {}) }, "Take it back"),
        h("output", { class: "critical", role: "status" }))))];
}

function runbooks(alerts) {
  const links = [...new Set(alerts.map((one) => one.annotations.runbook_url).filter(Boolean))];
  return links.length ? [heading("Runbook"), h("ul", { class: "plain" }, links.map((url) =>
    h("li", null, h("a", { href: `runbooks/${url.split("/").pop()}` }, url.split("/").pop()))))] : null;
}
