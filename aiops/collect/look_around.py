"""Zero configuration: try the ports on which LLM servers and GPU exporters listen by default, on this machine."""

import asyncio
from dataclasses import dataclass

from aiohttp import ClientSession

from aiops.collect.exposition import PageParser, PageTooLarge
from aiops.kit.http import HttpClient, HttpClientSettings
from aiops.kit.retry import Failure

PAGE_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Candidate:
    """A place worth a look; ``usual`` says who is expected there."""

    port: int
    path: str
    usual: str


WELL_KNOWN = (
    Candidate(8000, "/metrics", "vLLM, NIM, Dynamo"),
    Candidate(8000, "/v1/metrics", "NIM"),
    Candidate(8000, "/prometheus/metrics", "TensorRT-LLM"),
    Candidate(30000, "/metrics", "SGLang"),
    Candidate(8080, "/metrics", "llama.cpp, TGI, Ray"),
    Candidate(3000, "/metrics", "TGI, TEI"),
    Candidate(8002, "/metrics", "Triton"),
    Candidate(23333, "/metrics", "LMDeploy"),
    Candidate(8265, "/metrics", "Ray"),
    Candidate(9400, "/metrics", "DCGM exporter"),
)


@dataclass(frozen=True, slots=True)
class Sighting:
    """What was found at one place.

    Attributes
    ----------
    samples
        Sample lines of the page; 0 when there is no metrics page, and then ``detail`` says what there is instead.
    """

    candidate: Candidate
    url: str
    samples: int
    detail: str

    @property
    def found(self) -> bool:
        """There is a metrics page."""
        return self.samples > 0


async def look_around(
    session: ClientSession,
    *,
    host: str = "127.0.0.1",
    timeout_seconds: float = 1.0,
    candidates: tuple[Candidate, ...] = WELL_KNOWN,
) -> tuple[Sighting, ...]:
    """Ask all candidates at once.

    Returns
    -------
    One sighting per candidate, in order. Of several pages on one port only the first counts as found.
    """
    client = HttpClient(HttpClientSettings(), session)
    seen = await asyncio.gather(*(_look(client, host, place, timeout_seconds) for place in candidates))
    ports: set[int] = set()
    result = []
    for sighting in seen:
        if sighting.found and sighting.candidate.port in ports:
            result.append(Sighting(sighting.candidate, sighting.url, 0, "another page of this port was taken"))
            continue
        if sighting.found:
            ports.add(sighting.candidate.port)
        result.append(sighting)
    return tuple(result)


async def _look(client: HttpClient, host: str, place: Candidate, timeout_seconds: float) -> Sighting:
    url = f"http://{host}:{place.port}{place.path}"
    try:
        answer = await client.ask("GET", url, timeout_seconds=timeout_seconds, limit_bytes=PAGE_BYTES)
        page = PageParser().parse(answer.require_ok().body, answer.headers.get("Content-Type", ""))
    except (Failure, PageTooLarge) as error:
        return Sighting(place, url, 0, str(error))
    samples = len(page.layout.samples)
    if samples <= page.bad_lines:  # HTML and JSON are bad lines from top to bottom
        return Sighting(place, url, 0, "answers, but not with a metrics page")
    return Sighting(place, url, samples, f"{samples} samples")
