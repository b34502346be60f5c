// What is read, how that goes, and (for one target) what it said last and which signals were found in it.

import { get, post } from "../api.js";
import { h, long, table } from "../dom.js";
import { number } from "../format.js";
import { heading, pill, stat, stats, when } from "../parts.js";

export default function targets(place, { refresh }) {
  return place.rest ? one(place.rest) : every(refresh);
}

const EXAMPLE = "- source_labels: [__meta_kubernetes_pod_label_app]\n  target_label: pool";

function every(refresh) {
  const asked = { job: null, labels: '{"__address__": "10.0.0.7:8000", "__meta_kubernetes_pod_label_app": "chat"}', rules: EXAMPLE };
  return {
    async load() {
      const [{ activeTargets: all }, { jobs }] = await Promise.all([get("targets"), get("targets/relabel")]);
      const { job, labels, rules } = asked;
      const tried = job === null ? null
        : await (job ? get("targets/relabel", { job, labels }) : given(labels, rules)).catch((error) => ({ error: error.message }));
      return { all, jobs: jobs.filter((one) => one.rules), tried };
    },
    render: ({ all, jobs, tried }) => [h("h1", null, "Targets ", h("small", null, summary(all))),
      table(["health", "source", "program", "last read", "took", "page", "signals", "last error"], all.map(row),
        "Nothing is read yet: name a target with --target, or an engine on this machine will be found.", "Targets"),
      tester(jobs, asked, tried, refresh)],
  };
}

async function given(labels, rules) {
  let read;
  try {
    read = JSON.parse(labels);
  } catch {
    throw new Error("labels: expected a JSON object of texts");
  }
  return post("targets/relabel", { rules, labels: read });
}

/** What the rules of a job, or rules that nobody has yet, would make of a target. */
function tester(jobs, asked, tried, refresh) {
  const submit = (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    Object.assign(asked, { job: form.get("job") ?? "", labels: form.get("labels"), rules: form.get("rules") });
    refresh();
  };
  return h("section", null, heading("Relabelling", "what rules make of a target before it is read"),
    jobs.length ? null : h("p", { class: "dim" }, "No job has rules yet. Write some as under ", h("code", null, "relabel_configs"),
      " of Prometheus, try them here, and put them under ", h("code", null, "relabel"), " of a job."),
    h("form", { class: "controls", "data-key": "relabel", onsubmit: submit },
      jobs.length ? h("label", null, "rules ", h("select", { name: "job" },
        jobs.map((job) => h("option", { value: job.name }, `of job ${job.name}`)), h("option", { value: "" }, "those written below"))) : null,
      h("label", null, "labels ", h("input", { name: "labels", size: 60, value: asked.labels })),
      h("label", { class: "whole" }, "rules to try ", h("textarea", { class: "mono", name: "rules", rows: 4, maxlength: 10000, spellcheck: "false", value: asked.rules })),
      h("button", null, "Try")),
    tried?.error ? h("p", { class: "notice", role: "alert" }, tried.error) : tried?.steps && [
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
