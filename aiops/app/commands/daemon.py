"""``aiops run`` and ``aiops demo``: everything heavy starts here and nowhere earlier."""

from argparse import Namespace
from importlib import import_module

from aiops.app.config_load import ConfigError
from aiops.app.flags import RunOptions, load_config, sources
from aiops.app.output import Exit, say
from aiops.kit import log


def run(args: Namespace) -> int:
    """``aiops run``: no daemon starts from a configuration that is not wholly valid."""
    where = sources(args)
    try:
        loaded = load_config(where)
        log.configure(loaded.config.log.level, loaded.config.log.format)
        return int(import_module("aiops.app.serve").run(loaded.config, RunOptions(loaded, where)))
    except ConfigError as error:
        say(str(error))
        say("aiops: not started, because the configuration is not valid")
        return Exit.FAILED


def demo(args: Namespace) -> int:
    """``aiops demo``."""
    play = import_module("aiops.app.demo").run
    return int(play(listen_address=args.listen_address, seed=args.seed, serve_seconds=args.serve_seconds))
