"""``aiops check …``: find mistakes before the daemon does."""

import asyncio
from argparse import Namespace

from aiops.app.config import json_schema
from aiops.app.config_lint import lint
from aiops.app.config_load import ConfigError
from aiops.app.config_print import to_yaml
from aiops.app.flags import load_config, sources
from aiops.app.output import Exit, Output, document, say, write
from aiops.app.web_file import WebFileReader
from aiops.collect.pod_resources import PodResourcesCollector
from aiops.kit.host import node_name


def config(args: Namespace) -> int:
    """``aiops check config [FILE]``."""
    if args.schema:
        write(document(json_schema(), Output.JSON))
        return Exit.OK
    where = sources(args)
    try:
        loaded = load_config(where)
        WebFileReader(loaded.config.web.config_file).read()
    except ConfigError as error:
        say(str(error))
        say(f"{where.file or 'configuration'}: {len(error.problems)} problem(s) found")
        return Exit.FAILED
    found = lint(loaded, where)
    for advice in found:
        say(str(advice))
    if args.print:
        write(to_yaml(loaded))
    say(f"{where.file or 'defaults'}: valid" + (f", {len(found)} thing(s) to reconsider" if found else ""))
    return Exit.LINT if found and args.lint else Exit.OK


def pod_resources(args: Namespace) -> int:
    """``aiops check pod-resources``: one question, with the settings of the daemon."""
    try:
        settings = load_config(sources(args)).config.pod_resources
    except ConfigError as error:
        say(str(error))
        return Exit.FAILED
    kubelet = PodResourcesCollector(settings, node=node_name())
    asyncio.run(_ask(kubelet))
    status = kubelet.status()
    if status.error:
        say(status.error)
        return Exit.FAILED
    for gpu, held in kubelet.tenants.items():
        for one in held:
            write(f"{gpu} {one.pod.namespace}/{one.pod.name} {one.container}\n")
    off = "" if settings.enabled else "; the daemon does not ask: pod_resources.enabled is false"
    say(f"{settings.socket}: {len(kubelet.tenants)} GPU(s) in use{off}")
    return Exit.OK


async def _ask(kubelet: PodResourcesCollector) -> None:
    await kubelet.read()
    await kubelet.close()


def web_config(args: Namespace) -> int:
    """``aiops check web-config FILE``."""
    try:
        file = WebFileReader(args.file).read()
    except ConfigError as error:
        say(str(error))
        return Exit.FAILED
    users, tls = len(file.config.basic_auth_users), file.config.tls_server_config
    say(f"{args.file}: valid, {'TLS' if tls else 'no TLS'}, {users} user(s)")
    return Exit.OK
