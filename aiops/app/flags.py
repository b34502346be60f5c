"""Flags of ``run`` and ``check config`` as the top layer of the configuration."""

import os
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from aiops.app.config import Config
from aiops.app.config_file import Problem
from aiops.app.config_load import ConfigError, Loaded, Override, Sources, load

# Attribute of the parsed arguments → flag and setting.
_SETTINGS: dict[str, tuple[str, str]] = {
    "listen_address": ("--web.listen-address", "web.listen_address"),
    "web_config_file": ("--web.config.file", "web.config_file"),
    "external_url": ("--web.external-url", "web.external_url"),
    "enable_lifecycle": ("--web.enable-lifecycle", "web.enable_lifecycle"),
    "storage_path": ("--storage.path", "store.directory"),
    "log_level": ("--log.level", "log.level"),
    "log_format": ("--log.format", "log.format"),
    "targets": ("--target", "scrape.targets"),
    "shard": ("--shard", "scrape.shard"),
}


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the daemon needs beside its configuration.

    Attributes
    ----------
    loaded
        The configuration with the origin of every value, for showing it.
    sources
        The layers it was read from.
    """

    loaded: Loaded[Config]
    sources: Sources

    def again(self) -> "RunOptions":
        """Read the same layers anew, for a reload; raises ``ConfigError`` and changes nothing when they are bad."""
        return RunOptions(load_config(self.sources), self.sources)


def load_config(sources: Sources) -> Loaded[Config]:
    """Read all layers and hold them against the shipped rules too. What ``web.config_file`` names is not read.

    Raises
    ------
    ConfigError
        With every problem found.
    """
    loaded = load(Config, sources)
    # Imported here: only a configuration that sets overrides needs the detectors to be checked.
    if loaded.config.detect.disable or loaded.config.detect.severity:
        from aiops.app.assembly import build_bank  # noqa: PLC0415

        try:
            build_bank(loaded.config)
        except ValueError as error:
            raise ConfigError([Problem(loaded.origin(("detect",)), "", str(error))]) from None
    return loaded


def sources(args: Namespace) -> Sources:
    """Layers that parsed arguments ask for."""
    file = getattr(args, "file", None) or args.config_file or os.environ.get("AIOPS_CONFIG_FILE")
    overrides = []
    for name, (flag, setting) in _SETTINGS.items():
        value = getattr(args, name, None)
        if value not in (None, []):
            overrides.append(Override(tuple(setting.split(".")), value, flag))
    return Sources(file=Path(file) if file else None, flags=tuple(overrides))
