"""The Kubernetes API as a few JSON requests: the credentials of the pod, and errors that say what to do next.

Token and certificates are files that the kubelet rotates; :class:`~aiops.kit.http.HttpClient` looks at them at every
call. Nothing is cached and nothing is retried here: who asks knows whether its question still makes sense.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import ClientSession
from pydantic import Field

from aiops.kit.http import Answer, Hear, HttpClient, HttpClientSettings
from aiops.kit.http_settings import AuthorizationSettings, TlsSettings
from aiops.kit.retry import Permanent, Temporary
from aiops.kit.settings import Duration
from aiops.kit.text import clipped, printable

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_LIMIT_BYTES = 16 * 1024 * 1024
_LONGEST_MESSAGE = 200
Json = dict[str, Any]


class Conflict(Temporary):
    """409: somebody else wrote in between, or it exists already. Read again, then decide again."""


class Expired(Temporary):
    """410: the version that was asked for is not kept any more. Begin again from a fresh read."""


class NotFound(Permanent):
    """404: there is no such object, or no such kind of object."""


class KubernetesSettings(HttpClientSettings):
    """Where the API server is, and who we are to it. Inside a cluster nothing has to be set."""

    url: str = ""
    """Address of the API server; empty: that of the cluster in which this pod runs, with the pod's service account."""
    timeout: Duration = Field(10.0, gt=0)
    """Longest time for one request, seconds."""


def in_cluster(
    settings: KubernetesSettings, environ: Mapping[str, str], folder: Path = SERVICE_ACCOUNT
) -> KubernetesSettings:
    """Fill in what the kubelet gives to every pod; settings with a ``url`` stay as they are.

    Raises
    ------
    Permanent
        When this is no pod of a cluster.
    """
    if settings.url:
        return settings
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not (folder / "token").exists():
        raise Permanent(
            f"this is no pod of a cluster: expected KUBERNETES_SERVICE_HOST and {folder}/token, or a url of the API"
        )
    return settings.model_copy(
        update={
            "url": f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
            "authorization": AuthorizationSettings(credentials_file=folder / "token"),
            "tls": TlsSettings(ca_file=folder / "ca.crt"),
        }
    )


def own_namespace(folder: Path = SERVICE_ACCOUNT) -> str:
    """Namespace of this pod; ``default`` outside a cluster."""
    try:
        return (folder / "namespace").read_text(encoding="ascii").strip() or "default"
    except (OSError, ValueError):
        return "default"


class Kubernetes:
    """Asks one API server. Paths begin with ``/api`` or ``/apis``.

    Every method raises :class:`Conflict`, :class:`Expired`, :class:`NotFound`, or their parents: ``Temporary`` (with
    the wait that a 429 asked for) and ``Permanent`` (such as 403).
    """

    def __init__(self, settings: KubernetesSettings, session: ClientSession) -> None:
        self._url = settings.url.rstrip("/")
        self._timeout = settings.timeout
        self._client = HttpClient(settings, session)

    async def get(self, path: str) -> Json:
        """Read an object or a list."""
        return await self._ask("GET", path)

    async def watch(self, path: str, hear: Hear, *, seconds: float) -> None:
        """Hear what changes below ``path`` (with ``watch=1``) piece by piece, until the server or ``hear`` ends it."""
        answer = await self._client.ask(
            "GET", self._url + path, timeout_seconds=seconds, limit_bytes=_LIMIT_BYTES,
            headers={"Accept": "application/json"}, hear=hear,
        )  # fmt: skip
        if not 200 <= answer.status < 300:
            raise _failure(answer, f"GET {path} answered {answer.status}{_said(answer)}")

    async def create(self, path: str, body: Json) -> Json:
        """Create an object in the list at ``path``."""
        return await self._ask("POST", path, body)

    async def replace(self, path: str, body: Json) -> Json:
        """Write a whole object; with the ``resourceVersion`` that was read, only if nobody else wrote since."""
        return await self._ask("PUT", path, body)

    async def patch(self, path: str, body: Json, *, dry_run: bool = False) -> Json:
        """Merge into an object; a ``resourceVersion`` in it works as in :meth:`replace`.

        With ``dry_run`` the server checks everything, admission included, and keeps nothing.
        """
        return await self._ask("PATCH", f"{path}?dryRun=All" if dry_run else path, body)

    async def _ask(self, method: str, path: str, body: Json | None = None) -> Json:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        answer = await self._client.ask(
            method, self._url + path, timeout_seconds=self._timeout, limit_bytes=_LIMIT_BYTES,
            headers={"Accept": "application/json", "Content-Type": kind},
            body=None if body is None else json.dumps(body).encode(),
        )  # fmt: skip
        if 200 <= answer.status < 300:
            return _parsed(answer)
        raise _failure(answer, f"{method} {path} answered {answer.status}{_said(answer)}")


def _failure(answer: Answer, message: str) -> Exception:
    match answer.status:
        case 404:
            return NotFound(message)
        case 409:
            return Conflict(message)
        case 410:
            return Expired(message)
    try:
        answer.require_ok()
    except Temporary as error:
        return Temporary(message, error.delay_seconds)
    except Permanent:
        # 401 is what a token looks like that expires before the kubelet has written the next one.
        return Temporary(message) if answer.status == 401 else Permanent(message)
    raise AssertionError(message)


def _parsed(answer: Answer) -> Json:
    try:
        found = json.loads(answer.body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Permanent(f"{answer.url} sent no JSON object; expected the API of Kubernetes there")
    return found


def _said(answer: Answer) -> str:
    """The message of a ``Status`` object, where the body is one."""
    try:
        message = json.loads(answer.body)["message"]
    except (ValueError, KeyError, TypeError):
        return ""
    return f": {clipped(printable(str(message)), _LONGEST_MESSAGE)}"
