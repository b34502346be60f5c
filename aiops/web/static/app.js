// The frame: which view, when it is asked anew, and how fresh it is. A view is `open(place) -> {load, render}`:
// `load()` asks the API, `render(data)` returns elements; both are called again whenever there is news.

import { follow } from "./api.js";
import { h, morph } from "./dom.js";
import { clock, age, duration } from "./format.js";
import alerts from "./views/alerts.js";
import ask from "./views/ask.js";
import capacity from "./views/capacity.js";
import config from "./views/config.js";
import detectors from "./views/detectors.js";
import explore from "./views/explore.js";
import incident from "./views/incident.js";
import overview from "./views/overview.js";
import status from "./views/status.js";
import targets from "./views/targets.js";

const VIEWS = [
  ["", "Overview", overview], ["explore", "Explore", explore], ["capacity", "Capacity", capacity],
  ["alerts", "Alerts", alerts], ["targets", "Targets", targets], ["ask", "Ask", ask], ["detectors", "Detectors", detectors],
  ["status", "Status", status], ["config", "Config", config],
];
const HIDDEN = { incidents: incident };
const LEAST_SECONDS = 0.9;

const main = document.getElementById("main");
const live = document.getElementById("live");
let view = null;
let key = "";
let asked = 0;
let busy = false;
let again = false;
let lastTick = "";
let how = "connecting";

/** `#/explore?signal=ttft` as name, rest of the path and parameters. */
function place() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = path.split("/");
  return { name, rest: rest.map(decode).join("/"), query: new URLSearchParams(query) };
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function open() {
  const where = place();
  const [, title, make] = VIEWS.find(([name]) => name === where.name) ?? ["", "Incident", HIDDEN[where.name]];
  view?.close?.();
  document.getElementById("nav").replaceChildren(...VIEWS.map(([name, text]) =>
    h("a", { href: `#/${name}`, "aria-current": name === where.name ? "page" : null }, text)));
  document.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  document.title = `aiops · ${title}`;
  key = location.hash;
  main.replaceChildren(h("p", { class: "dim" }, "Loading …"));
  view = make ? make(where, { refresh }) : { load: async () => null, render: () => h("p", null, "There is no such view.") };
  window.scrollTo(0, 0);
  refresh();
}

/** Ask and draw; while an answer is under way, once more after it. */
async function refresh() {
  if (busy) {
    again = true;
    return;
  }
  busy = true;
  const [mine, drawn] = [view, key];
  let content;
  try {
    content = mine.render(await mine.load());
  } catch (error) {
    content = h("div", { class: "notice", role: "alert" }, h("strong", null, "This cannot be shown now: "), error.message);
  }
  busy = false;
  asked = performance.now();
  if (mine === view && drawn === key) {
    morph(main, h("main", null, content));
    main.dataset.ready = drawn || "#/";
    view.drawn?.();
  }
  if (again) {
    again = false;
    refresh();
  }
}

function tick(event) {
  lastTick = event.at ?? lastTick;
  const calm = !document.hidden && !getSelection()?.toString() && performance.now() - asked > LEAST_SECONDS * 1000;
  if (calm && !view?.still) refresh();
}

function tell(state) {
  how = state;
  const late = lastTick && age(lastTick) > 30;
  const text = {
    live: !lastTick ? "live" : late ? `no tick for ${duration(age(lastTick))}` : `live · ${clock(lastTick)}`,
    polling: "every 10 s", lost: "daemon not reached", connecting: "connecting",
  }[state];
  live.textContent = text;
  live.dataset.state = state === "live" && late ? "late" : state;
}

window.addEventListener("hashchange", open);
document.addEventListener("visibilitychange", () => document.hidden || refresh());
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
open();
follow((event) => { tick(event); tell(how); }, tell);
setInterval(() => tell(how), 5000);
