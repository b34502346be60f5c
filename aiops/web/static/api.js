// Asks the daemon. Every view shows what an address under api/v1 answers, and nothing else.

/** The `data` of an answer; an error says what the daemon said. */
export async function get(path, parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== "" && value !== null));
  const answer = await fetch(`api/v1/${path}${query.size ? `?${query}` : ""}`, { headers: { Accept: "application/json" } });
  return unwrap(answer);
}

/** Send JSON, return the `data` of the answer. */
export async function post(path, body) {
  const answer = await fetch(`api/v1/${path}`, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  });
  return unwrap(answer);
}

async function unwrap(answer) {
  let body = null;
  try {
    body = await answer.json();
  } catch {
    throw new Error(`the daemon answered ${answer.status} and no JSON`);
  }
  if (body.status !== "success") throw Object.assign(new Error(body.error ?? `status ${answer.status}`), { code: answer.status });
  return body.data;
}

/**
 * Call `onTick` whenever the daemon has looked at its fleet again, and `onState` with how we know: "live" by events,
 * "polling" when the daemon has no place for another listener, "lost" while it does not answer.
 */
export function follow(onTick, onState) {
  const source = new EventSource("api/v1/events");
  source.addEventListener("tick", (event) => {
    onState("live");
    onTick(JSON.parse(event.data));
  });
  source.addEventListener("open", () => onState("live"));
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) {
      onState("polling");
      setInterval(() => onTick({}), 10_000);
    } else onState("lost");
  });
}
