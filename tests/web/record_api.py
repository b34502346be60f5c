"""``python -m tests.web.record_api``: write the examples of ``docs/reference/api.md`` anew; then ``make render``.

The daemon is that of the page's tests: a simulated fleet whose second replica hangs.
"""

import asyncio
import json
from pathlib import Path
from tempfile import TemporaryDirectory

from aiohttp import ClientSession

from tests.web.api_answers import EXAMPLES, answers, short
from tests.web.demo_house import demo_house


async def record() -> None:
    """Ask, cut, write."""
    with TemporaryDirectory(prefix="aiops-") as folder:
        async with demo_house(Path(folder)) as (_, url), ClientSession(url) as session:
            found = {name: short(data) for name, data in (await answers(session)).items()}
    found["GET /api/v1/status"]["storage"] = "/var/lib/aiops"
    EXAMPLES.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(record())
