// One chart: a line, the band that was expected, the anomaly ribbon on top, and marks of what happened.
// uPlot is loaded when the first chart is drawn, so that the overview does not wait for it.

import { h, morph } from "./dom.js";
import { UNKNOWN, clock, number, tick } from "./format.js";

const HEIGHT = 160;
const RIBBON = 7;
let library = null;

/** The library; the same promise for all. */
function uplot() {
  library ??= import("./uplot/uPlot.esm.js").then((module) => module.default);
  return library;
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const LINES = ["--line1", "--line2", "--line3", "--line4", "--line5", "--line6"];

/** An empty place for a chart; `key` tells it from the others over updates. */
export function place(key) {
  return h("div", { class: "chart", "data-kept": true, "data-key": key });
}

/** Charts of one view. Call `draw` after every update, `close` when the view is left. */
export class Charts {
  #open = new Map();
  #watch = new ResizeObserver((entries) => entries.forEach(({ target }) => this.#resize(target)));
  #onSelect;

  /** `onSelect(from, to)` is called with UTC seconds when a span was drawn with the mouse. */
  constructor(onSelect = null) {
    this.#onSelect = onSelect;
  }

  /** Draw a frame `{at, lines: [{label, values}], unit, lower, upper, score, marks}` into the place of that key. */
  async draw(root, key, frame) {
    const Uplot = await uplot();
    const host = root.querySelector(`.chart[data-key="${CSS.escape(key)}"]`);
    if (host === null) return;
    let chart = this.#open.get(key);
    if (chart && (chart.host !== host || chart.frame.lines.length !== frame.lines.length)) {
      this.#drop(key);
      chart = null;
    }
    if (!chart) {
      chart = { host, frame, plot: null };
      this.#open.set(key, chart);
      host.replaceChildren(h("div", { class: "canvas", role: "img" }), h("p", { class: "legend" }));
      chart.plot = new Uplot(this.#options(chart), data(frame), host.firstChild);
      this.#watch.observe(host);
    } else {
      chart.frame = frame;
      chart.plot.setData(data(frame));
    }
    host.firstChild.setAttribute("aria-label", told(frame));
    legend(chart, null);
  }

  close() {
    this.#watch.disconnect();
    for (const key of [...this.#open.keys()]) this.#drop(key);
  }

  #drop(key) {
    const { host, plot } = this.#open.get(key);
    this.#watch.unobserve(host);
    plot.destroy();
    this.#open.delete(key);
  }

  #resize(host) {
    const chart = [...this.#open.values()].find((one) => one.host === host);
    if (chart && host.clientWidth) chart.plot.setSize({ width: host.clientWidth, height: HEIGHT });
  }

  #options(chart) {
    const [dim, grid] = [colour("--dim"), colour("--line")];
    const axis = { stroke: dim, grid: { stroke: grid, width: 1 }, ticks: { show: false }, font: "11px system-ui" };
    const { unit } = chart.frame;
    return {
      width: chart.host.clientWidth || 300, height: HEIGHT, legend: { show: false },
      cursor: { sync: { key: "time" }, y: false, drag: { x: Boolean(this.#onSelect), y: false, setScale: false } },
      scales: { x: { time: true }, y: { range: (plot, low, high) => bounds(chart.frame, low, high) } },
      axes: [{ ...axis, space: 70, size: 24, values: times },
        { ...axis, size: 60, values: (plot, ticks) => ticks.map((value) => (value === null ? "" : tick(value, unit))) }],
      series: [{}, ...chart.frame.lines.map((line, index) => ({ label: line.label, stroke: colour(LINES[index % LINES.length]), width: 1.6,
        spanGaps: false, points: { show: true, size: 4, fill: colour(LINES[index % LINES.length]), filter: alone } }))],
      hooks: {
        drawClear: [(plot) => band(plot, chart.frame)],
        draw: [(plot) => { ribbon(plot, chart.frame); marks(plot, chart.frame); }],
        setCursor: [(plot) => legend(chart, plot.cursor.idx)],
        setSelect: [(plot) => this.#selected(plot)],
      },
    };
  }

  #selected(plot) {
    const { left, width } = plot.select;
    if (width < 5) return;
    const [from, to] = [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
    plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    this.#onSelect(from, to);
  }
}

const data = (frame) => [frame.at, ...frame.lines.map((line) => line.values)];

function times(plot, ticks) {
  return ticks.map((at) => new Date(at * 1000).toLocaleTimeString("en-GB", plot.scales.x.max - plot.scales.x.min > 900
    ? { hour: "2-digit", minute: "2-digit" } : {}));
}

/** Indices of points without neighbours: no line goes through them, so each is drawn as a dot. */
function alone(plot, index) {
  const values = plot.data[index];
  const known = (place) => Number.isFinite(values[place]);
  return values.flatMap((_, place) => (known(place) && !known(place - 1) && !known(place + 1) ? [place] : []));
}

/** Whether there is anything to draw. */
export const drawable = ({ values }) => values.some(Number.isFinite);

/** Room for the line and for the band near it; a far bound must not flatten the line. */
function bounds(frame, low, high) {
  if (low === null || high === null || !Number.isFinite(low)) return [0, 1];
  const flat = high - low <= Math.abs(high) * 1e-6;
  const room = flat ? Infinity : high - low;
  for (const [index] of frame.at.entries()) {
    const [under, over] = [frame.lower?.[index], frame.upper?.[index]];
    if (Number.isFinite(under) && under > low - 2 * room) low = Math.min(low, under);
    if (Number.isFinite(over) && over < high + 2 * room) high = Math.max(high, over);
  }
  const pad = Math.max((high - low) * 0.08, Math.abs(high) * 0.02, high === low ? (high ? 1e-3 : 0.6) : 0);
  const floor = low >= 0 && low - pad < 0 ? 0 : low - pad;
  return [floor, high + pad * 1.6];
}

/** Half the way to the neighbours on the time axis, so that neighbouring cells touch. */
function cells(plot, frame, draw) {
  const { left, width } = plot.bbox;
  const x = frame.at.map((at) => plot.valToPos(at, "x", true));
  x.forEach((middle, index) => {
    const start = Math.round(index ? (x[index - 1] + middle) / 2 : middle);
    const end = Math.round(index + 1 < x.length ? (x[index + 1] + middle) / 2 : middle);
    if (end > start) draw(index, Math.max(left, start), Math.min(left + width, end));
  });
}

function band(plot, frame) {
  if (!frame.lower) return;
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.fillStyle = colour("--band");
  cells(plot, frame, (index, start, end) => {
    const [under, over] = [frame.lower[index], frame.upper[index]];
    if (!Number.isFinite(under) && !Number.isFinite(over)) return;
    const top = Number.isFinite(over) ? Math.max(bbox.top, plot.valToPos(over, "y", true)) : bbox.top;
    const bottom = Number.isFinite(under) ? Math.min(bbox.top + bbox.height, plot.valToPos(under, "y", true)) : bbox.top + bbox.height;
    if (bottom > top) ctx.fillRect(start, top, end - start, bottom - top);
  });
  ctx.restore();
}

function ribbon(plot, frame) {
  if (!frame.score) return;
  const { ctx, bbox } = plot;
  const [bad, near, fine] = [colour("--critical"), colour("--warning"), colour("--fine")];
  const height = RIBBON * devicePixelRatio;
  ctx.save();
  cells(plot, frame, (index, start, end) => {
    const score = frame.score[index];
    if (!Number.isFinite(score)) return;
    ctx.fillStyle = score >= 1 ? bad : score >= 0.6 ? near : fine;
    ctx.fillRect(start, bbox.top, end - start, height);
  });
  ctx.restore();
}

function marks(plot, frame) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.font = `${11 * devicePixelRatio}px system-ui`;
  ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]);
  for (const mark of frame.marks ?? []) {
    const x = plot.valToPos(mark.at, "x", true);
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.strokeStyle = ctx.fillStyle = colour(mark.colour ?? "--text");
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    const right = x + 4 * devicePixelRatio + ctx.measureText(mark.label).width > bbox.left + bbox.width;
    ctx.textAlign = right ? "right" : "left";
    ctx.fillText(mark.label, x + (right ? -4 : 4) * devicePixelRatio, bbox.top + (RIBBON + 12) * devicePixelRatio);
  }
  ctx.restore();
}

/** The values under the cursor, or the newest ones. */
function legend(chart, index) {
  const { frame, host } = chart;
  const at = index ?? frame.at.length - 1;
  const lone = frame.lines.length === 1;
  if (!frame.lines.some(drawable)) {
    morph(host.lastChild, h("p", null, "Not known in this window: too few requests, or the target does not say."));
    return;
  }
  const values = frame.lines.map((line, place) => h("span", { class: `key line${place % LINES.length + 1}` },
    lone ? "" : `${line.label}: `, h("strong", null, number(line.values[at], frame.unit))));
  const score = frame.score?.[at];
  morph(host.lastChild, h("p", null, h("span", { class: "dim" }, index === null ? "now " : `${clock(frame.at[at])} `), values,
    expected(frame, at), Number.isFinite(score) ? h("span", { class: score >= 1 ? "critical" : "dim" }, ` · score ${score.toFixed(1)}`) : null));
}

function expected(frame, at) {
  const [under, over] = [frame.lower?.[at], frame.upper?.[at]];
  if (!Number.isFinite(under) && !Number.isFinite(over)) return null;
  const text = !Number.isFinite(under) ? `up to ${number(over, frame.unit)}`
    : !Number.isFinite(over) ? `from ${number(under, frame.unit)}` : `${number(under, frame.unit)} to ${number(over, frame.unit)}`;
  return h("span", { class: "dim" }, ` · expected ${text}`);
}

function told(frame) {
  const last = frame.at.length - 1;
  const lines = frame.lines.map((line) => `${line.label} ${last < 0 ? UNKNOWN : number(line.values[last], frame.unit)}`);
  return `Chart over ${frame.at.length} points; now ${lines.join(", ")}`.slice(0, 300);
}

/** A frame for one series of `api/v1/signals/range`. */
export function frameOf(answer, series, marked = []) {
  return { at: answer.at, unit: series.unit, lines: [{ label: series.signal, values: series.values }],
    lower: series.lower, upper: series.upper, score: series.score, marks: marked };
}
