"""Reads ``web.config_file``, and notices when it or a file that it names has changed."""

from collections.abc import Iterable
from pathlib import Path

from aiops.app.config_file import Problem
from aiops.app.config_load import ConfigError, Sources, load
from aiops.kit.files import stamp
from aiops.web.web_config import WebConfig, WebFile

Stamp = tuple[int, int, int] | None
"""None for a file that is not there."""


class WebFileReader:
    """The file, and how it looked when it was last read."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._seen: dict[Path, Stamp] = {}

    def read(self) -> WebFile:
        """What the file says now; everything default without one.

        Raises
        ------
        ConfigError
            With every problem found, by file and line.
        """
        if self.path is None:
            return WebFile(WebConfig())
        self._seen = _stamps([self.path])
        config = load(WebConfig, Sources(self.path, environ={})).config
        file = WebFile(config, self.path.parent)
        self._seen = _stamps([self.path, *config.files(file.folder)])
        try:
            file.context()
        except ValueError as error:
            raise ConfigError([Problem(str(self.path), "", str(error))]) from None
        return file

    def changed(self) -> bool:
        """A file looks different from when it was read."""
        return self.path is not None and _stamps(self._seen) != self._seen


def _stamps(files: Iterable[Path]) -> dict[Path, Stamp]:
    return {file: _stamp(file) for file in files}


def _stamp(file: Path) -> Stamp:
    try:
        return stamp(file)
    except OSError:
        return None
