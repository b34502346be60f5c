// How the daemon itself is: memory, lag, queues, state on disk, its tasks.

import { get } from "../api.js";
import { h, table } from "../dom.js";
import { age, duration, number } from "../format.js";
import { heading, pill, stat, stats, when } from "../parts.js";

export default function status() {
  return {
    load: () => get("status"),
    render: (data) => [
      h("h1", null, "Status ", h("small", null, `aiops ${data.version}`)),
      problems(data),
      stats(stat("up for", duration(age(data.startedAt))), stat("last tick", when(data.lastTick)),
        stat("a tick takes", number(data.tickSeconds, "seconds")), stat("ticks", number(data.ticks)),
        stat("skipped", number(data.ticksSkipped))),
      stats(stat("memory", number(data.residentBytes, "bytes")), stat("window", number(data.ringBytes, "bytes")),
        stat("bands", number(data.bandBytes, "bytes")),
        stat("series", number(data.series), `of ${number(data.seriesLimit)}`),
        stat("open pages", number(data.listeners))),
      stats(stat("false alerts asked for", number(data.alertBudgetAsked), "a week at most"),
        stat("statistical alerts fired", number(data.alertBudgetFired), "a week, true ones among them")),
      heading("Receivers"),
      table(["health", "name", "kind", "queue", "sent", "dropped", "last error"], data.receivers.map((one) =>
        [pill(one.health === "up" ? "ok" : "critical", one.health), one.name, one.kind, number(one.queueLength), number(one.sent),
          number(one.dropped), one.lastError || one.warning]), "Nobody is told: no receiver is configured.", "Receivers"),
      heading("Storage"),
      stats(stat("folder", data.storage), stat("snapshot", when(data.snapshotAt)),
        stat("configuration", data.configFile || "none", data.lastReloadSuccessful ? "" : "last reload was refused")),
      heading("Tasks"),
      table(["state", "task", "crashes", "last error"], data.tasks.map((one) =>
        [pill(one.state === "running" || one.state === "done" ? "ok" : "warning", one.state), one.name, number(one.crashes), one.error]),
      "No task runs.", "Tasks"),
    ],
  };
}

function problems(data) {
  const out = data.detectorsLeftOut.join(", ");
  const all = [data.storageProblem, out && `turns take too long and do without ${out}`, ...data.discoveryProblems, ...data.jobsWithoutTargets.map((job) => `job ${job} has no target`)].filter(Boolean);
  return all.length ? h("div", { class: "notice" }, h("ul", { class: "plain" }, all.map((text) => h("li", null, text)))) : null;
}
