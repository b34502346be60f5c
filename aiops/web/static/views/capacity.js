// How many replicas, why, how sure: the chance to meet the SLO by number of replicas, what binds, what is coming, and how
// well earlier advice did.

import { get } from "../api.js";
import { h, svg, table } from "../dom.js";
import { UNKNOWN, duration, entityText, number } from "../format.js";
import { heading, pill, stat, stats, when } from "../parts.js";

export default function capacity() {
  return {
    async load() {
      const [{ recommendations }, { pools }] = await Promise.all([get("recommendations"), get("fleet")]);
      return recommendations.map((one) => ({ ...one, now: pools.find((pool) => entityText(pool) === entityText({ kind: "pool", labels: one.labels }))?.numbers ?? {} }));
    },
    render: (pools) => [h("h1", null, "Capacity"), pools.length ? pools.map(pool)
      : h("p", { class: "calm" }, "No advice yet: a pool has to be seen for a while first.")],
  };
}

function pool(one) {
  const wanted = one.desired_replicas;
  const more = wanted - one.current_replicas;
  return h("section", { class: "pool", "data-key": one.pool },
    h("h2", null, one.pool, " ", one.abstained ? pill("silent", "no advice") : pill(more > 0 ? "warning" : "ok", more === 0 ? "keep" : more > 0 ? "grow" : "shrink")),
    one.abstained ? null : h("p", { class: "big" }, `${wanted}`, h("small", null, ` replicas advised, ${exist(one)}`)),
    h("p", null, one.abstained ? `${exist(one)}. No advice: ` : "", `${one.reason.replace(/\.$/, "")}.`, one.held.length ? ` Held back: ${one.held.join("; ")}.` : ""),
    stats(
      stat("waiting now", number(one.now.queue_len)), stat("running now", number(one.now.running), Number.isFinite(one.now.max_running) ? `of ${number(one.now.max_running)}` : "")),
    one.abstained ? null : stats(
      stat("in time now", number(one.probability_now, "ratio"), `goal ${number(one.slo.target, "ratio")} within ${number(one.slo.wait_seconds, "seconds")}`),
      stat("in time with the advice", number(one.probability, "ratio")),
      stat("load now", number(one.forecast.now_per_second, "requests/s")),
      stat("load ahead, high", number(one.forecast.high_per_second, "requests/s"), one.forecast.method),
      stat("needs lead time", duration(one.lead_seconds ?? NaN), one.lead_known_by),
      stat("model error", Number.isFinite(one.model_error_ratio) ? `× ${one.model_error_ratio.toFixed(2)}` : UNKNOWN, "back-test of the last hour"),
      stat("calm load would need", number(one.mmc_floor_replicas), "M/M/c"),
      stat("for bursts", one.burst_premium_replicas === null ? UNKNOWN : `+${number(one.burst_premium_replicas)}`)),
    curve(one),
    heading("What binds"),
    h("p", null, pill(one.binding.constraint === "none" ? "ok" : "warning", one.binding.constraint.replaceAll("_", " ")), ` ${one.binding.advice}`),
    one.binding.evidence.length ? h("ul", null, one.binding.evidence.map((text) => h("li", null, text))) : null,
    one.ahead.length ? [heading("Ahead"), stats(...one.ahead.map((step) => stat(step.seconds ? `in ${duration(step.seconds)}` : "now", `${number(step.replicas)} replicas`)))] : null,
    heading("Earlier advice"),
    stats(stat("followed", number(one.track.followed)), stat("nothing to do", number(one.track.kept)), stat("not followed", number(one.track.not_followed)),
      stat("mean error of the chance", number(one.track.mean_error, "ratio"), `of ${number(one.track.judged)} judged`)),
    h("p", { class: "dim" }, "Worked out ", when(one.at), one.assumed ? `. Assumed: ${one.assumed}` : ""));
}

const exist = (one) => `${number(one.current_replicas)} exist, ${number(one.ready_replicas)} ready`;

/** Chance by number of replicas with its band, and the goal as a line. */
function curve(one) {
  const points = one.curve.filter((point) => Number.isFinite(point.probability));
  if (points.length < 2) return null;
  const [width, height, left, bottom] = [560, 180, 44, 28];
  const most = points.at(-1).replicas;
  const least = points[0].replicas;
  const x = (replicas) => left + 14 + ((replicas - least) / Math.max(1, most - least)) * (width - left - 40);
  const y = (share) => 10 + (1 - share) * (height - bottom - 10);
  const every = Math.ceil(points.length / 10);
  return [heading("Chance to meet the SLO by number of replicas"),
    svg("svg", { class: "curve", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label":
      `Chance to meet the SLO: ${points.map((point) => `${point.replicas} replicas ${number(point.probability, "ratio")}`).join(", ")}` },
    [0, 0.5, 1].map((share) => [svg("line", { class: "grid", x1: left, x2: width - 8, y1: y(share), y2: y(share) }),
      svg("text", { class: "axis end", x: left - 6, y: y(share) + 4 }, number(share, "ratio"))]),
    svg("line", { class: "goal", x1: left, x2: width - 8, y1: y(one.slo.target), y2: y(one.slo.target) }),
    points.map((point) => svg("line", { class: "whisker", x1: x(point.replicas), x2: x(point.replicas), y1: y(point.low), y2: y(point.high) })),
    svg("polyline", { class: "chance", points: points.map((point) => `${x(point.replicas)},${y(point.probability)}`).join(" ") }),
    points.map((point, index) => [
      svg("circle", { class: point.replicas === one.desired_replicas ? "chosen" : point.replicas === one.current_replicas ? "present" : "point",
        cx: x(point.replicas), cy: y(point.probability), r: point.replicas === one.desired_replicas ? 6 : 4 }),
      index % every ? null : svg("text", { class: "axis mid", x: x(point.replicas), y: height - 8 }, String(point.replicas))])),
    h("details", null, h("summary", null, "as a table"), table(["replicas", "in time", "low", "high", "price per hour"], points.map((point) =>
      [number(point.replicas), number(point.probability, "ratio"), number(point.low, "ratio"), number(point.high, "ratio"), number(point.price_per_hour)]), "", "Chance by replicas"))];
}
