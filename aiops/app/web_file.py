"""Reads ``web.config_file``, and notices when it or a file that it names has changed."""

from collections.abc import Iterable
from pathlib import Path

from aiops.app.config_file import Problem
from aiops.app.config_load import ConfigError, Sources, load
from aiops.web.web_config import WebConfig, WebFile

_Stamp = tuple[str, int, int]


class WebFileReader:
    """The file, and how it looked when it was last read."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._seen: tuple[_Stamp, ...] = ()

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
        return self.path is not None and _stamps([Path(name) for name, _, _ in self._seen]) != self._seen


def _stamps(files: Iterable[Path]) -> tuple[_Stamp, ...]:
    stamps = []
    for file in files:
        try:
            status = file.stat()
        except OSError:
            stamps.append((str(file), 0, 0))
        else:
            stamps.append((str(file), status.st_mtime_ns, status.st_ino))
    return tuple(stamps)
