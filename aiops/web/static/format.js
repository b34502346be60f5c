// Numbers, times and names for people. Unknown is a dash, never 0.

export const UNKNOWN = "–";
const GAP = "\u00a0"; // a number and its unit stay on one line

const SCALES = {
  seconds: [[1, "s"], [1e-3, "ms"], [1e-6, "µs"]],
  bytes: [[2 ** 40, "TiB"], [2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"], [1, "B"]],
  hertz: [[1e9, "GHz"], [1e6, "MHz"], [1, "Hz"]],
};

/** Three significant digits, grouped from ten thousand on. */
function digits(value) {
  const size = Math.abs(value);
  if (size >= 1e4) return Math.round(value).toLocaleString("en");
  return String(Number(value.toPrecision(3)));
}

/** A number with its unit, short: `41.8 ms`, `97 %`, `12.5 GiB`. */
export function number(value, unit = "") {
  if (value === null || value === undefined || !Number.isFinite(value)) return UNKNOWN;
  if (unit === "ratio") return `${digits(value * 100)}${GAP}%`;
  if (unit === "celsius") return `${digits(value)}${GAP}°C`;
  if (unit === "watts") return `${digits(value)}${GAP}W`;
  const [base, per] = unit.split("/");
  const scale = SCALES[base];
  if (scale === undefined) return unit && unit !== "state" ? `${digits(value)}${GAP}${unit}` : digits(value);
  if (base === "seconds" && Math.abs(value) >= 120) return duration(value);
  const [size, name] = scale.find(([one]) => Math.abs(value) >= one) ?? (value ? scale.at(-1) : scale.find(([one]) => one === 1));
  return `${digits(value / size)}${GAP}${name}${per ? `/${per}` : ""}`;
}

/** The same without a fraction, where room is short. */
export function whole(value, unit) {
  return number(unit === "ratio" ? Math.round(value * 100) / 100 : Math.round(value), unit);
}

/** A number for an axis: the unit stays away where it is a plain word. */
export function tick(value, unit) {
  const [base] = unit.split("/");
  return number(value, unit === "ratio" || unit === "celsius" || unit === "watts" || base in SCALES ? unit : "");
}

/** `45 s`, `12 min`, `3 h 5 min`, `2 d 4 h`. */
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return UNKNOWN;
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 120) return `${whole}${GAP}s`;
  const minutes = Math.round(whole / 60);
  if (minutes < 120) return `${minutes}${GAP}min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 ? `${hours}${GAP}h ${minutes % 60}${GAP}min` : `${hours}${GAP}h`;
  return hours % 24 ? `${Math.floor(hours / 24)}${GAP}d ${hours % 24}${GAP}h` : `${hours / 24}${GAP}d`;
}

/** Seconds since a stamp; NaN for none. */
export function age(stamp) {
  return stamp ? (Date.now() - Date.parse(stamp)) / 1000 : NaN;
}

/** How long ago: `4 min ago`. */
export function ago(stamp) {
  const seconds = age(stamp);
  return Number.isFinite(seconds) ? `${duration(seconds)} ago` : "never";
}

/** Local clock time of a stamp or of UTC seconds, with the day when it is not today. */
export function clock(when) {
  const at = typeof when === "number" ? new Date(when * 1000) : new Date(when);
  if (Number.isNaN(at.getTime())) return UNKNOWN;
  const time = at.toLocaleTimeString("en-GB");
  return at.toDateString() === new Date().toDateString() ? time : `${at.toLocaleDateString("en-CA")} ${time}`;
}

/** The exact text of an entity, as the API takes it. */
export function entityText(entity) {
  const pairs = Object.entries(entity.labels).sort(([a], [b]) => (a < b ? -1 : 1));
  return `${entity.kind}{${pairs.map(([name, value]) => `${name}="${value}"`).join(",")}}`;
}

/** `ttft p95`. */
export function signalName(signal, stat) {
  return stat ? `${signal} ${stat}` : signal;
}

/** As much of an entity's text as fits into an address; any part of it finds the entity. */
export function part(entity) {
  return entity.slice(0, 1500);
}

/** Address of a series in the Explore view. */
export function exploreLink(signal, stat, entity = "") {
  return `#/explore?${new URLSearchParams({ signal, stat, entity: part(entity) })}`;
}
