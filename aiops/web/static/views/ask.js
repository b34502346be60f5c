// A box for questions. The answer says what it was understood as and what it is from.

import { get } from "../api.js";
import { h } from "../dom.js";
import { heading } from "../parts.js";

const EXAMPLES = ["why was TTFT high at 14:00?", "which GPU is hottest?", "what changed in the last hour?", "how many replicas are needed?",
  "昨天发生了什么？"];

export default function ask({ query }) {
  const question = query.get("q") ?? "";
  const box = h("input", { id: "question", "data-kept": true, "aria-label": "Question", maxlength: "400", value: question });
  const go = () => { if (box.value.trim()) location.hash = `#/ask?q=${encodeURIComponent(box.value.trim())}`; };
  box.addEventListener("keydown", (event) => { if (event.key === "Enter") go(); });
  return {
    still: true,
    load: async () => (question ? get("ask", { q: question }) : null),
    render: (answer) => [h("h1", null, "Ask ", h("small", null, "in English or Chinese; times are UTC")),
      h("p", null, box, " ", h("button", { onclick: go }, "Ask")),
      answer ? shown(answer) : h("ul", { class: "plain" }, EXAMPLES.map((one) =>
        h("li", null, h("a", { href: `#/ask?q=${encodeURIComponent(one)}` }, one))))],
  };
}

function shown(answer) {
  return [h("section", { class: "asked" }, answer.sentences.map((one) => h("p", { class: detail(one) ? "detail" : null }, one.text))),
    heading("Understood as"), h("p", { class: "mono asked" }, answer.query), answer.promql.map((one) => h("p", { class: "mono asked" }, one)),
    answer.sources.length ? [heading("From"), h("ul", { class: "plain asked" }, answer.sources.map((one) =>
      h("li", null, h("span", { class: "dim" }, `${one.id} `), ...source(one))))] : null];
}

/** What is said within a source's own account, such as an incident's evidence. */
const detail = ({ text, sources }) => sources.length > 0 && !text.includes(`[${sources[0]}]`);

/** What this page can show is a link; the rest says how to look it up. */
function source({ what, lookUp }) {
  const here = lookUp.replace(/^\/api\/v1\/incidents\//, "#/incidents/").replace(/^\/runbooks\//, "runbooks/");
  return here === lookUp ? [what, " ", h("span", { class: "mono dim" }, lookUp)] : [h("a", { href: here }, what)];
}
