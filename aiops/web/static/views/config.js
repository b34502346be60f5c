// The configuration in effect, each value with its origin, without secrets.

import { get } from "../api.js";
import { h, long } from "../dom.js";

export default function config() {
  return {
    still: true,
    load: async () => (await get("config")).yaml,
    render: (yaml) => [h("h1", null, "Configuration ", h("small", null, "in effect; secrets are masked, comments name where a value came from")),
      long("pre", { class: "page", tabindex: "0" }, yaml)],
  };
}
