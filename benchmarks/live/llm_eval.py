"""Ask a language model about incidents whose cause is known, and print how much of what it says is true, as JSON.

``make llm-eval LLM_URL=http://host:8000/v1 LLM_MODEL=name``; ``LLM_KEY_FILE``, ``LLM_INCIDENTS``, ``LLM_REPEATS``,
``LLM_PRICE_IN`` and ``LLM_PRICE_OUT`` (USD per million tokens) if you like. Nothing here judges style, and no model
judges another: a sentence counts when the claim checker finds it true, a cause when it is the one that was planted.
"""

import asyncio
import json
import os
import sys
import time
from math import sqrt
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from aiops.explain.llm import Llm
from aiops.explain.settings import LlmSettings
from aiops.explain.wording import Worded, word
from aiops.explain.words import Language
from aiops.kit.http import HttpClient, open_session
from aiops.kit.retry import Failure
from tests.explain.cases import case
from tests.explain.truths import known


def interval(hits: int, n: int) -> list[float | None]:
    """Share with its 95 % interval (Wilson)."""
    if n == 0:
        return [None, None, None]
    z, share = 1.96, hits / n
    middle, half = share + z * z / (2 * n), z * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return [round(value / (1 + z * z / n), 3) if k else round(share, 3) for k, value in
            enumerate((share, middle - half, middle + half))]  # fmt: skip


async def main() -> None:
    """Run every incident so many times and print one JSON document."""
    env = os.environ
    incidents, repeats = int(env.get("LLM_INCIDENTS", "20")), int(env.get("LLM_REPEATS", "3"))
    record: dict[str, object] = {
        "url": env["LLM_URL"],
        "model": env["LLM_MODEL"],
        "price_in": float(env.get("LLM_PRICE_IN", "0")),
        "price_out": float(env.get("LLM_PRICE_OUT", "0")),
        "tokens_per_day": 0,
        "cost_per_day": 0,
    }
    if env.get("LLM_KEY_FILE"):
        record["client"] = {"authorization": {"credentials_file": env["LLM_KEY_FILE"]}}
    settings = LlmSettings.model_validate(record)
    session = open_session(keep_alive_seconds=0.0)
    said: list[Worded] = []
    seconds: list[float] = []
    failures: dict[str, int] = {}
    llm = Llm(settings, HttpClient(settings.client, session))
    for language in Language:
        for seed in range(incidents):
            for _ in range(repeats):
                began = time.monotonic()
                try:
                    said.append(await word(known(case(seed)), llm, model=settings.model, language=language, at=0.0))
                except Failure as error:
                    failures[str(error)] = failures.get(str(error), 0) + 1
                seconds.append(time.monotonic() - began)
    await session.close()
    kept = sum(len(one.sentences) for one in said)
    every = kept + sum(len(one.dropped) for one in said)
    asked = len(seconds)
    print(json.dumps({
        "model": settings.model, "at": time.strftime("%Y-%m-%d", time.gmtime()), "n": asked,
        "answers_in_form": interval(len(said), asked),
        "answers_published": interval(sum(bool(one.sentences) for one in said), asked),
        "sentences_published": interval(kept, every), "sentences": every,
        "agrees_with_the_ranking": interval(sum(not one.causes for one in said), len(said)),
        "failures": failures, "seconds_median": round(median(seconds), 2), "seconds_longest": round(max(seconds), 2),
        "tokens": llm.counts.tokens_in + llm.counts.tokens_out, "cost_usd": round(llm.counts.cost, 4),
        "reasons": sorted({one.reason for worded in said for one in worded.dropped})[:20],
    }, indent=2))  # fmt: skip


asyncio.run(main())
