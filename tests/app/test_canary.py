"""A secret in every place that may hold one, and then a look everywhere that people and programs can look."""

import asyncio
import io
import logging
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from pydantic import BaseModel, SecretStr

from aiops.app.cli import main
from aiops.app.config import Config
from aiops.app.config_load import Sources, load
from aiops.app.daemon import Daemon
from aiops.kit import log
from aiops.store.seal import add_key

DEAD = "http://127.0.0.1:9"
CONFIG = """
interval: 200ms
scrape:
  jobs:
  - {{name: basic, interval: 200ms, targets: ["{dead}/metrics"],
      client: {{basic_auth: {{username: u, password: canary-01-password}}}}}}
  - {{name: bearer, interval: 200ms, targets: ["{dead}/m"],
      client: {{authorization: {{credentials: canary-02-token}}}}}}
  - {{name: list, http_sd: [{{url: "{dead}/sd", client: {{authorization: {{credentials: canary-03-token}}}}}}]}}
probe:
  endpoints:
  - {{url: "{dead}/v1", model: m, interval: 60s, client: {{authorization: {{credentials: canary-04-token}}}}}}
notify:
  alertmanagers: [{{url: "{dead}", client: {{basic_auth: {{username: u, password: canary-05-password}}}}}}]
  webhooks: [{{url: "{dead}/canary-06-path", signing_key: canary-07-signing-key,
      client: {{authorization: {{credentials: canary-16-token}}}}}}]
  receivers:
  - {{name: chat, kind: slack, url: "{dead}/services/canary-08-path",
      client: {{authorization: {{credentials: canary-17-token}}}}}}
  - {{name: robot, kind: dingtalk, url: "{dead}/robot/canary-09-path", secret: canary-10-secret}}
web:
  listen_address: "127.0.0.1:0"
  tokens: [{{name: reader, role: admin, token: canary-11-token-of-a-reader}}]
store: {{directory: {folder}/state, encryption_key_file: {folder}/keys}}
nvml: {{enabled: "off"}}
explain: {{llm: {{url: "{dead}/v1", model: m, client: {{authorization: {{credentials: canary-12-token}}}}}}}}
prometheus: {{url: "{dead}", client: {{authorization: {{credentials: canary-13-token}}}}}}
hub: {{servers: [{{name: hub, url: "{dead}", client: {{authorization: {{credentials: canary-14-token}}}}}}]}}
remote_write: [{{url: "{dead}/write", client: {{basic_auth: {{username: u, password_file: {folder}/password}}}}}}]
log: {{level: debug}}
"""


def written(folder: Path, file: Path) -> str:
    """Write the configuration, and the files with secrets that it names; return the key that seals the archive."""
    file.write_text(CONFIG.format(dead=DEAD, folder=folder))
    (folder / "password").write_text("canary-15-password-of-a-file")
    add_key(folder / "keys")
    return (folder / "keys").read_text().strip()


def secrets_in(value: object) -> set[str]:
    """Every secret that a configuration holds."""
    if isinstance(value, SecretStr):
        return {value.get_secret_value()}
    if isinstance(value, BaseModel):
        return set().union(*(secrets_in(getattr(value, name)) for name in type(value).model_fields), set())
    if isinstance(value, dict):
        return set().union(*(secrets_in(inner) for inner in value.values()), set())
    if isinstance(value, list | tuple):
        return set().union(*(secrets_in(inner) for inner in value), set())
    return set()


def fields_in(model: type[BaseModel], seen: set[type[BaseModel]], sort: str) -> set[str]:
    """``Section.field`` of every field of a sort that the whole configuration can hold."""
    found: set[str] = set()
    for name, field in model.model_fields.items():
        text = repr(field.annotation)
        if sort in text:
            found.add(f"{model.__name__}.{name}")
        for inner in models_in(field.annotation):
            if inner not in seen:
                seen.add(inner)
                found |= fields_in(inner, seen, sort)
    return found


def models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in models_in(part)]


def test_every_sort_of_secret_is_in_the_configuration_of_this_test(tmp_path: Path) -> None:
    assert fields_in(Config, set(), "SecretStr") == {
        "BasicAuthSettings.password", "AuthorizationSettings.credentials", "WebhookSettings.url",
        "WebhookSettings.signing_key", "ReceiverSettings.url", "ReceiverSettings.secret", "TokenSettings.token",
    }  # fmt: skip
    assert fields_in(Config, set(), "HttpClientSettings") == {
        "AlertmanagerSettings.client", "EndpointSettings.client", "HttpDiscoverySettings.client",
        "HubServerSettings.client", "JobSettings.client", "LlmSettings.client", "PrometheusSettings.client",
        "ReceiverSettings.client", "RemoteWriteSettings.client", "WebhookSettings.client",
    }  # fmt: skip
    file = tmp_path / "aiops.yaml"
    written(tmp_path, file)
    held = secrets_in(load(Config, Sources(file, environ={})).config)
    assert len([secret for secret in held if "canary-" in secret]) == 16


async def test_no_secret_is_seen_anywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "aiops.yaml"
    keys = written(tmp_path, file)
    loaded = load(Config, Sources(file, environ={}))
    seen = {"repr": repr(loaded.config), "dump": loaded.config.model_dump_json()}
    told = io.StringIO()
    log.configure(loaded.config.log.level, loaded.config.log.format, told)
    daemon = Daemon(loaded.config)
    task = asyncio.create_task(daemon.run())
    try:
        async with asyncio.timeout(30):
            while daemon.beat.ticks < 15:
                assert not task.done()
                await asyncio.sleep(0.05)
        seen |= await crawled(daemon)
    finally:
        daemon.stop()
        await task
        logging.getLogger().handlers.clear()
        logging.captureWarnings(capture=False)
    seen["log"] = told.getvalue()
    assert "cannot be asked" in seen["log"], "what failed was told"
    assert main(["check", "config", str(file), "--print"]) == 0
    printed = capsys.readouterr()
    seen["printed"] = printed.out + printed.err
    seen |= {str(path): path.read_bytes().decode(errors="replace") for path in (tmp_path / "state").iterdir()}
    assert len(seen) > 20
    assert {name for name, text in seen.items() if "canary" in text or keys in text} == set()


async def crawled(daemon: Daemon) -> dict[str, str]:
    """Text of every route that can be read, with and without a name that is there."""
    pages = {}
    headers = {"Authorization": "Bearer canary-11-token-of-a-reader"}
    async with ClientSession(headers=headers) as session:
        for route in daemon.server._app.router.routes():
            path = route.resource.canonical if route.resource is not None else ""
            if route.method != "GET" or path == "/api/v1/events":
                continue
            url = f"http://127.0.0.1:{daemon.server.port}{path.replace('{', '').replace('}', '')}"
            async with session.get(url) as answer:
                pages[path] = f"{dict(answer.headers)} {await answer.text()}"
    assert {"/metrics", "/api/v1/targets", "/api/v1/status", "/"} <= pages.keys()
    return pages
