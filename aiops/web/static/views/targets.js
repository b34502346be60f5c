// What is read, how that goes, and (for one target) what it said last and which signals were found in it.

import { get } from "../api.js";
import { h, long, table } from "../dom.js";
import { number } from "../format.js";
import { heading, pill, stat, stats, when } from "../parts.js";

export default function targets(place, { refresh }) {
  return place.rest ? one(place.rest) : every(refresh);
}

function every(refresh) {
  const asked = { job: "", labels: '{"__address__": "10.0.0.7:8000"}' };
  return {
    async load() {
      const [{ activeTargets: all }, { jobs }] = await Promise.all([get("targets"), get("targets/relabel")]);
      const tried = asked.job ? await get("targets/relabel", asked).catch((error) => ({ error: error.message })) : null;
      return { all, jobs, tried };
    },
    render: ({ all, jobs, tried }) => [h("h1", null, "Targets ", h("small", null, summary(all))),
      table(["health", "source", "program", "last read", "took", "page", "signals", "last error"], all.map(row),
        "Nothing is read yet: name a target with --target, or an engine on this machine will be found.", "Targets"),
      jobs.some((job) => job.rules) ? tester(jobs.filter((job) => job.rules), asked, tried, refresh) : null],
  };
}

/** What the rules of a job would make of a target. */
function tester(jobs, asked, tried, refresh) {
  const submit = (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    Object.assign(asked, { job: form.get("job"), labels: form.get("labels") });
    refresh();
  };
  return h("section", null, heading("Relabelling", "what the rules of a job make of a target"),
    h("form", { class: "controls", "data-key": "relabel", onsubmit: submit },
      h("label", null, "job ", h("select", { name: "job" }, jobs.map((job) => h("option", { value: job.name }, job.name)))),
      h("label", null, "labels ", h("input", { name: "labels", size: 60, value: asked.labels })), h("button", null, "Try")),
    tried?.error ? h("p", { class: "notice", role: "alert" }, tried.error) : tried && [
      h("p", null, tried.keep ? pill("ok", "kept") : pill("warning", "dropped"), " ", h("span", { class: "mono" }, tried.keep ? JSON.stringify(tried.labels) : "")),
      table(["rule", "effect"], tried.steps.map((step) => [h("code", null, JSON.stringify(step.rule)),
        step.keep ? h("span", { class: "mono" }, JSON.stringify(step.output)) : `dropped: ${step.reason}`]), "", "Relabelling, step by step")]);
}

const HEALTH = { up: ["ok", "up"], down: ["critical", "down"], unknown: ["silent", "unknown"] };

function summary(all) {
  return Object.keys(HEALTH).map((name) => [name, all.filter((one) => one.health === name).length])
    .filter(([, many]) => many).map(([name, many]) => `${many} ${name}`).join(", ");
}

function row(target) {
  const { facts } = target;
  const name = target.kind === "scrape"
    ? h("a", { href: `#/targets/${encodeURIComponent(target.source)}` }, target.source) : target.source;
  return [pill(...HEALTH[target.health]), name, [facts.title ?? facts.engine ?? target.kind, facts.version ? ` ${facts.version}` : ""],
    when(target.lastScrape), number(target.lastScrapeDuration, "seconds"), number(facts.size_bytes, "bytes"),
    number(facts.signals), target.lastError];
}

function one(source) {
  return {
    still: true,
    async load() {
      const [all, page] = await Promise.all([get("targets"), get("targets/page", { source })]);
      return { target: all.activeTargets.find((item) => item.source === source), page };
    },
    render({ target, page }) {
      const { report } = page;
      const roles = Object.entries(report?.roles ?? {});
      const missing = roles.filter(([, role]) => role.status === "missing");
      const found = roles.filter(([, role]) => role.status !== "missing");
      return [
        h("p", null, h("a", { href: "#/targets" }, "← all targets")),
        h("h1", null, source),
        stats(stat("health", pill(...HEALTH[target?.health ?? "unknown"])), stat("last read", when(target?.lastScrape)),
          stat("took", number(target?.lastScrapeDuration, "seconds")), stat("page", number(target?.facts.size_bytes, "bytes")),
          stat("samples", number(target?.facts.samples)), stat("failures in a row", number(target?.failures))),
        target?.lastError ? h("p", { class: "notice", role: "alert" }, target.lastError) : null,
        h("p", null, report?.message ?? "No page could be read yet."),
        heading("Found", String(found.length)),
        table(["signal", "how", "metric", "note"], found.map(([name, role]) => [name, role.status, h("span", { class: "mono" }, role.metric ?? ""),
          role.note ?? (role.candidates ? `could also be ${role.candidates.join(", ")}` : "")]), "No signal was found.", "Signals found"),
        missing.length ? [heading("Missing", String(missing.length)),
          table(["signal", "blind without it", "note"], missing.map(([name, role]) => [name, (role.disables ?? []).join(", "), role.note ?? ""]), "", "Signals missing")] : null,
        h("details", null, h("summary", null, `The last answer as it came${page.cut ? " (the beginning)" : ""}`),
          long("pre", { class: "page", tabindex: "0" }, page.text)),
      ];
    },
  };
}
