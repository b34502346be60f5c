"""``aiops state …``: keys, and sealing an archive with them while no daemon runs."""

import sqlite3
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace

from aiops.app.config_load import ConfigError
from aiops.app.flags import load_config, sources
from aiops.app.output import CommandFailedError, Exit, say
from aiops.app.state import take_lock
from aiops.store.archive import Archive
from aiops.store.seal import Keyring, Seal, add_key


def key(args: Namespace) -> int:
    """``aiops state key FILE``."""
    try:
        name = add_key(args.file)
    except ImportError:
        raise CommandFailedError("expected the package cryptography: pip install 'aiops[encryption]'") from None
    except OSError as error:
        raise CommandFailedError(str(error)) from None
    say(f"{args.file}: the key {name} is now the first; keep a copy elsewhere, nothing opens without it")
    return Exit.OK


def seal(args: Namespace) -> int:
    """``aiops state seal``."""
    return _rewritten(args, "sealed", lambda keys: keys)


def unseal(args: Namespace) -> int:
    """``aiops state unseal``."""
    return _rewritten(args, "in plain text", lambda keys: replace(keys, shuts=""))


def _rewritten(args: Namespace, done: str, chosen: Callable[[Seal], Seal]) -> int:
    try:
        store = load_config(sources(args)).config.store
    except ConfigError as error:
        raise CommandFailedError(str(error)) from None
    path = store.archive_path
    if store.encryption_key_file is None:
        raise CommandFailedError("store.encryption_key_file names no file; expected one with the keys")
    if not path.is_file():
        raise CommandFailedError(f"{path} is not there; expected the archive of a daemon (--storage.path)")
    try:
        keys = chosen(Keyring(store.encryption_key_file).seal())
        with take_lock(store.directory):
            archive, problem = Archive.open(path, time.time(), keys)
            try:
                count, unopened = archive.reseal(keys)
            finally:
                archive.close()
    except (OSError, sqlite3.Error) as error:
        raise CommandFailedError(f"{path}: {error}") from None
    for trouble in filter(None, (problem, *dict.fromkeys(unopened))):
        say(f"aiops: {trouble}")
    say(f"{path}: {count - len(unopened)} of {count} record(s) {done}")
    return Exit.FAILED if unopened or problem else Exit.OK
