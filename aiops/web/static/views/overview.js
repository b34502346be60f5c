// How the fleet is, in ten seconds: what is wrong, since when and why; how much budget is left; every pool below.

import { get } from "../api.js";
import { clipped, h } from "../dom.js";
import { clock, entityText, exploreLink, number, whole } from "../format.js";
import { bar, heading, lasting, left, pill, rank, stat, stats, when } from "../parts.js";

export default function overview() {
  return {
    async load() {
      const [fleet, incidents, advice, slo, maintenance] = await Promise.all(
        ["fleet", "incidents", "recommendations", "slo", "maintenance"].map((path) => get(path)));
      const open = incidents.incidents.filter((one) => one.state === "open").sort((a, b) => rank(a.severity) - rank(b.severity));
      const told = await Promise.all(open.slice(0, MOST_TOLD).map((one) => get(`incidents/${encodeURIComponent(one.id)}`).catch(() => null)));
      return { fleet, open, over: incidents.incidents.filter((one) => one.state !== "open"), slo, maintenance,
        told: told.map((one) => one?.incident ?? null), advice: advice.recommendations };
    },
    render: ({ fleet, open, over, told, advice, slo, maintenance }) => [
      headline(fleet, open),
      open.length ? h("div", { class: "cards" }, open.map((one, index) => card(one, told[index]))) : null,
      planned(maintenance),
      fleet.pools.map((pool) => poolSection(pool, advice)),
      budgets(slo),
      fleet.nodes.length ? h("section", null, heading("GPUs by node"), h("div", { class: "tiles" }, fleet.nodes.map(node))) : null,
      fleet.elsewhere.length ? h("section", null, heading("Elsewhere"), h("div", { class: "tiles" }, fleet.elsewhere.map(tile))) : null,
      over.length ? h("section", null, heading("Over lately"), h("ul", { class: "plain" }, over.slice(0, 5).map((one) =>
        h("li", null, pill("resolved", "over"), " ", h("a", { href: `#/incidents/${encodeURIComponent(one.id)}` }, one.title),
          h("span", { class: "dim" }, ` ${lasting(one.startsAt, one.endsAt)}, ended `), when(one.endsAt))))) : null,
    ],
  };
}

const MOST_TILES = 12;
const MOST_TOLD = 5;

function headline(fleet, open) {
  const replicas = fleet.pools.flatMap((pool) => pool.replicas);
  const gpus = [...replicas.flatMap((one) => one.gpus), ...fleet.nodes.flatMap((one) => one.gpus)];
  const bad = replicas.filter((one) => one.health === "critical" || one.health === "warning").length;
  const silent = replicas.filter((one) => one.health === "silent").length;
  const worst = open.some((one) => one.severity === "critical") ? "critical"
    : open.some((one) => one.severity === "warning") ? "warning" : open.length ? "info" : silent ? "silent" : "ok";
  if (!replicas.length && !gpus.length && !open.length) {
    return [h("div", { class: "headline silent" }, h("h1", null, "Nothing is watched yet"),
      h("p", null, "No serving engine and no GPU has been read.")),
    h("p", null, h("a", { href: "#/targets" }, "See what the targets say"), ", or name one: ",
      h("code", null, "aiops run --target URL"))];
  }
  const text = open.length ? `${open.length} open ${open.length === 1 ? "incident" : "incidents"}` : "No open incident";
  const parts = [
    count(fleet.pools.length, "pool"), count(replicas.length, "replica"),
    gpus.length ? count(gpus.length, "GPU") : "", bad ? `${bad} unwell` : "", silent ? `${silent} without data` : "",
  ].filter(Boolean);
  return h("div", { class: `headline ${worst}` }, h("h1", null, text), h("p", null, parts.join(" · ")));
}

const count = (many, what) => `${many} ${what}${many === 1 ? "" : "s"}`;

function card(incident, full) {
  const link = `#/incidents/${encodeURIComponent(incident.id)}`;
  return h("article", { class: `card ${incident.severity}`, "data-key": incident.id },
    h("p", { class: "meta" }, pill(incident.severity), h("span", null, lasting(incident.startsAt, null)),
      h("span", { class: "dim" }, `${count(incident.alerts.length, "alert")}`)),
    h("h2", null, h("a", { href: link }, incident.title)),
    h("p", null, cause(incident, full)));
}

/** One sentence: the cause where one is known, else what the first alert says. */
function cause(incident, full) {
  const known = full?.diagnosis && !full.diagnosis.abstained;
  const told = known ? full.summary?.sentences.find((one) => one.part === "cause")?.text : null;
  return clipped(told ?? incident.alerts.find((one) => one.reason)?.reason ?? "", 220);
}

function poolSection(pool, advice) {
  const n = pool.numbers;
  const own = advice.find((one) => entityText({ kind: "pool", labels: one.labels }) === entityText(pool));
  return h("section", { "data-key": entityText(pool) },
    h("h2", null, pill(pool.health), " ", pool.name),
    stats(
      known(n.ready, () => stat("replicas ready", `${number(n.ready)} of ${number(n.replicas)}`)),
      known(n.arrivals, () => stat("arrivals", number(n.arrivals, "requests/s"))),
      known(n.queue_len, () => stat("waiting", number(n.queue_len))),
      known(n.running, () => stat("running", number(n.running), Number.isFinite(n.max_running) ? `of ${number(n.max_running)}` : "")),
      known(n["ttft:mean"], () => stat(...latency("TTFT", n, "ttft"))),
      known(n["itl:mean"], () => stat(...latency("ITL", n, "itl"))),
      known(n.tokens_out, () => stat("tokens out", number(n.tokens_out, "tokens/s"))),
      own ? recommendation(own) : null),
    replicas(pool.replicas));
}

const known = (value, make) => (Number.isFinite(value) ? make() : null);

/** All of a few; of many only those that are unwell, and a dot for each of the others. */
function replicas(all) {
  if (all.length <= MOST_TILES) return h("div", { class: "tiles" }, all.map(tile));
  const unwell = all.filter((one) => one.health !== "ok" || one.gpus.some((gpu) => gpu.health !== "ok"));
  const shown = unwell.slice(0, MOST_TILES);
  const rest = all.filter((one) => !shown.includes(one));
  return [shown.length ? h("div", { class: "tiles" }, shown.map(tile)) : null,
    h("ul", { class: "dots", "aria-label": `${rest.length} more replicas` }, rest.map((one) =>
      h("li", { "data-key": entityText(one) }, h("a", { class: `dot ${one.health}`, href: exploreLink("running", "", entityText(one)),
        "aria-label": `${one.name}: ${one.health}`, title: `${one.name}: ${one.health}` }))))];
}

function recommendation(advice) {
  const wanted = advice.desired_replicas;
  const text = advice.abstained ? "none yet" : wanted === advice.current_replicas ? `keep ${wanted}` : `${advice.current_replicas} → ${wanted}`;
  return h("div", { class: `stat ${!advice.abstained && wanted > advice.current_replicas ? "wanted" : ""}` },
    h("dt", null, h("a", { href: "#/capacity" }, "advice")), h("dd", { title: advice.reason }, text));
}

function tile(replica) {
  const n = replica.numbers;
  const busy = n.running / n.max_running;
  const alerts = replica.alerts ? ` · ${count(replica.alerts, "alert")}` : "";
  return h("article", { class: `tile ${replica.health}`, "data-key": entityText(replica) },
    h("p", { class: "meta" }, pill(replica.health), h("span", { class: "dim" }, alerts)),
    h("h3", null, h("a", { href: exploreLink("running", "", entityText(replica)) }, replica.name)),
    replica.kind === "replica" ? h("dl", { class: "gauges" },
      gauge("running", n.running, n.max_running, busy),
      gauge("KV cache", n.kv_use, null, n.kv_use, "ratio"),
      plain("waiting", number(n.queue_len)), plain("tokens out", number(n.tokens_out, "tokens/s")),
      plain(...latency("TTFT", n, "ttft"))) : null,
    replica.gpus?.length ? h("ul", { class: "gpus", "aria-label": "GPUs" }, replica.gpus.map(gpu)) : null);
}

/** The p95, or the mean where too few requests stand behind a p95. */
function latency(label, numbers, signal) {
  const stat = Number.isFinite(numbers[`${signal}:p95`]) ? "p95" : "mean";
  return [`${label} ${stat}`, number(numbers[`${signal}:${stat}`], "seconds")];
}

const plain = (label, value) => h("div", null, h("dt", null, label), h("dd", null, value));

function gauge(label, value, most, share, unit = "") {
  return h("div", null, h("dt", null, label),
    h("dd", null, Number.isFinite(share) ? bar(share, label) : null, number(value, unit), Number.isFinite(most) ? ` / ${number(most)}` : ""));
}

function node(group) {
  return h("article", { class: `tile ${group.health}` }, h("p", { class: "meta" }, pill(group.health)),
    h("h3", null, group.node), h("ul", { class: "gpus" }, group.gpus.map(gpu)));
}

function gpu(one) {
  const n = one.numbers;
  const name = one.name.replace(/^GPU-/, "");
  const full = n.gpu_mem_used / n.gpu_mem_total;
  return h("li", { class: one.health }, h("a", { href: exploreLink("gpu_temp", "", entityText(one)), title: name },
    h("span", { class: "dim wide" }, "GPU "), pill(one.health, name.slice(0, 8))),
    h("span", null, whole(n.gpu_util, "ratio")), h("span", null, whole(n.gpu_temp, "celsius")),
    h("span", null, whole(n.gpu_power, "watts")), h("span", { title: "device memory in use" }, `mem ${whole(full, "ratio")}`),
    n.gpu_throttle > 0 ? h("strong", { class: "warning" }, "throttled") : null);
}

/** One line for each, the worst first: how much is left, and how fast it goes. */
function budgets({ budgets: all }) {
  if (!all.length) return null;
  const many = new Set(all.map((one) => entityText(one.entity))).size > 1;
  const sorted = [...all].sort((a, b) => (a.budgetLeft ?? Infinity) - (b.budgetLeft ?? Infinity));
  return h("section", null, heading("Error budgets", "a full bar is untouched; at a pace of 1 × it lasts exactly as long as it has to"),
    h("ul", { class: "budgets" }, sorted.map((one) => {
      const goal = one.threshold === null ? `without ${one.of}` : `of ${one.of.toUpperCase()} within ${number(one.threshold, "seconds")}`;
      return h("li", { "data-key": `${one.slo} ${entityText(one.entity)}` }, burning(one),
        h("span", null, `${number(one.objective, "ratio")} ${goal}`, many ? h("span", { class: "dim" }, ` · ${one.entity.name}`) : null),
        h("span", null, remaining(one)),
        h("span", { class: "dim" }, `pace ${pace(one.burnRates["1h"])} in 1 h, ${pace(one.burnRates["6h"])} in 6 h`));
    })));
}

const pace = (rate) => (rate > 0 && rate < 0.01 ? "< 0.01\u00a0×" : `${number(rate)}\u00a0×`);

function burning({ budgetLeft, burning: burns, told }) {
  if (!Number.isFinite(budgetLeft)) return pill("silent");
  if (told.length) return pill("critical", "burning");
  if (burns.length) return pill("warning", "burns");
  return budgetLeft < 0.25 ? pill("warning", "little left") : pill("ok", "steady");
}

function remaining({ slo, budgetLeft }) {
  if (!Number.isFinite(budgetLeft)) return "not known: no request yet";
  return [left(budgetLeft, `error budget of ${slo} left`), budgetLeft < 0
    ? [h("strong", null, "used up"), ` ${number(1 - budgetLeft)}\u00a0×`] : [h("strong", null, number(budgetLeft, "ratio")), " left"]];
}

/** Why it may be quieter than usual. */
function planned({ windows }) {
  const now = windows.filter((one) => one.state === "active");
  return now.length ? h("div", { class: "notice" }, now.map((one) => h("p", { "data-key": one.id }, h("strong", null, `Maintenance ${one.name}`),
    ` until ${clock(one.ends)}: ${Object.entries(one.matches).map(([name, value]) => `${name}=${value}`).join(" ") || "everything"}; holds back ${one.skip.join(" and ")}`))) : null;
}
