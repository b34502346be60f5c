// What judges the fleet, and for every rule why it speaks or keeps silent.

import { get } from "../api.js";
import { h, table } from "../dom.js";
import { number } from "../format.js";
import { heading, pill, stat, stats } from "../parts.js";

export default function detectors() {
  return {
    load: () => get("detectors"),
    render: (data) => [
      h("h1", null, "Detectors"),
      stats(stat("series", number(data.series)), stat("still being learnt", number(data.learning)),
        stat("rules", number(data.rules.length)), stat("blind rules", number(data.rules.filter(blind).length))),
      table(["detector", "part", "series judged", "out of bounds"], data.detectors.map((one) =>
        [one.name, one.adviser ? "adviser: its votes stand beside alerts" : "judge", number(one.judged), number(one.outside)]),
      "Statistics are off (detect.enabled).", "Detectors"),
      heading("Rules", "open one to see its condition"),
      h("div", { class: "rules" }, [...data.rules].sort((a, b) => order(a) - order(b)).map(rule)),
    ],
  };
}

const unjudged = (one) => (one.watched === null ? one.missing.length > 0 : one.outside + one.fine === 0);
const blind = (one) => unjudged(one) && one.missing.length > 0;
const order = (one) => (one.active ? 0 : one.outside ? 1 : blind(one) ? 4 : unjudged(one) ? 3 : 2);

function state(one) {
  if (one.active) return pill(one.severity, `${one.active} firing`);
  return unjudged(one) ? pill("silent", blind(one) ? "blind" : "not judged yet") : pill("ok", "quiet");
}

function rule(one) {
  return h("details", { class: "rule", "data-key": one.name },
    h("summary", null, state(one), h("strong", null, ` ${one.name} `), h("span", { class: "dim" }, why(one))),
    h("p", null, one.description || one.summary),
    one.condition ? h("p", null, h("code", null, one.condition)) : null,
    h("p", { class: "dim" }, `${one.severity}; fires after ${one.fires}, resolves after ${one.resolves}. `,
      one.runbook ? h("a", { href: `runbooks/${one.runbook}` }, "Runbook") : null),
    one.lookAlikes.length ? h("div", null, "Looks the same and is harmless:", h("ul", null, one.lookAlikes.map((text) => h("li", null, text)))) : null);
}

/** Why it says what it says, in one sentence. */
function why(one) {
  if (one.watched === null) {
    return one.missing.length ? `nothing reports ${one.missing.join(", ")}` : "looks at sources and events";
  }
  const unknown = one.watched - one.outside - one.fine;
  if (blind(one)) return `looks at ${one.watched}, but nothing reports ${one.missing.join(", ")}`;
  return [`looks at ${one.watched}`, `${one.outside} out of bounds`, `${one.fine} fine`,
    unknown ? `${unknown} not known: too little seen, or no number now` : ""].filter(Boolean).join(", ");
}
