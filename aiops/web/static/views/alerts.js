// Every alert that is not inactive, as receivers are told: the worst first, of these the newest.

import { get } from "../api.js";
import { h, table } from "../dom.js";
import { exploreLink } from "../format.js";
import { pill, rank, when, where } from "../parts.js";

const ORDER = ["firing", "resolving", "pending", "resolved"];

export default function alerts() {
  return {
    load: async () => (await get("alerts")).alerts,
    render(all) {
      const sorted = [...all].sort((a, b) => rank(a.labels.severity) - rank(b.labels.severity));
      const groups = ORDER.map((state) => [state, sorted.filter((one) => one.state === state)]).filter(([, some]) => some.length);
      return [
        h("h1", null, "Alerts"),
        groups.length ? null : h("p", { class: "calm" }, "No alert is pending or firing."),
        groups.map(([state, some]) => h("section", { "data-key": state },
          h("h2", null, `${state} `, h("small", null, String(some.length))),
          table(["severity", "alert", "where", "since", "why"], some.map(row), "", `${state} alerts`))),
      ];
    },
  };
}

function row(alert) {
  const { labels, annotations } = alert;
  const incident = alert.incident ? [" ", h("a", { href: `#/incidents/${encodeURIComponent(alert.incident)}` }, "incident")] : "";
  return [
    pill(labels.severity), [h("strong", null, labels.alertname), incident], h("span", { class: "mono" }, where(labels)),
    when(alert.activeAt),
    [annotations.description ?? annotations.summary ?? "", votes(alert.votes), labels.signal && labels.signal !== "up" ? [" ",
      h("a", { href: exploreLink(labels.signal, labels.stat ?? "", labels.instance ?? labels.gpu ?? labels.pool ?? "") }, "chart")] : ""],
  ];
}

function votes(given) {
  const all = Object.entries(given ?? {});
  return all.length ? h("span", { class: "dim" }, ` (${all.map(([name, score]) => `${name} ${score?.toFixed(1)}`).join(", ")})`) : null;
}
