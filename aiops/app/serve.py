"""The daemon as a process: signals, and the exit code."""

import asyncio
import logging
import signal
from contextlib import suppress

from aiops.app.config import Config
from aiops.app.daemon import Daemon
from aiops.app.flags import RunOptions
from aiops.kit.memory import limit_heaps
from aiops.web.source import ReloadFailed

_LOG = logging.getLogger("aiops.app.serve")


async def _serve(daemon: Daemon) -> None:
    loop = asyncio.get_running_loop()
    pending: set[asyncio.Task[None]] = set()

    def reload() -> None:
        async def attempt() -> None:
            with suppress(ReloadFailed):  # already told
                await daemon.reload()

        task = loop.create_task(attempt())
        pending.add(task)
        task.add_done_callback(pending.discard)

    def terminate(number: signal.Signals) -> None:
        loop.remove_signal_handler(number)  # a second signal ends the process at once
        _LOG.info("stopping", extra={"signal": number.name})
        daemon.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, terminate, number)
    loop.add_signal_handler(signal.SIGHUP, reload)
    await daemon.run()


def run(config: Config, options: RunOptions | None = None) -> int:
    """Run until SIGTERM or SIGINT; return the exit code.

    Raises
    ------
    ConfigError
        Before anything is started, when the web configuration file is not valid.
    """
    limit_heaps()

    async def main() -> None:
        await _serve(Daemon(config, options))

    try:
        asyncio.run(main())
    except OSError as error:
        _LOG.error("not started", extra={"error": error.strerror or str(error)})
        return 1
    return 0
