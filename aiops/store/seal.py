"""Sealing at rest: what the archive keeps in words cannot be read without a key from a file.

Each line of the key file is one key. The first seals, all of them open, so that keys can be rotated. A sealed text is
``sealed:<id of the key>:<Fernet token>``; JSON never begins so, and plain and sealed texts may stand side by side.
Authenticated: a sealed text that was changed does not open.
"""

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2s
from pathlib import Path
from typing import Protocol

from aiops.kit.files import read_limited, write_atomically
from aiops.kit.secrets import register

_PREFIX = "sealed:"
_FILE_BYTES = 64 * 1024
_TOO_OPEN = stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO


class KeyMissing(OSError):
    """Nothing can be sealed, or not all be opened: names the key, the file, and what was expected."""


class _Cipher(Protocol):
    def encrypt(self, data: bytes) -> bytes: ...
    def decrypt(self, token: bytes) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Seal:
    """Keys by their id, and what to say where one is missing.

    ``shuts`` is the id of the key that seals; ``""`` leaves new texts as they are.
    """

    keys: Mapping[str, _Cipher]
    shuts: str
    absent: str

    def shut(self, text: str) -> str:
        """The text, sealed."""
        if not self.shuts:
            return text
        return f"{_PREFIX}{self.shuts}:{self.keys[self.shuts].encrypt(text.encode()).decode()}"

    def hidden(self, text: str) -> str:
        """A text that stands in a record as well, only to be searched by: left out where records are sealed."""
        return "" if self.shuts else text

    def opened(self, text: str) -> str:
        """The text behind a sealed one; a plain one as it is.

        Raises
        ------
        ValueError
            When its key is not there, or it was changed.
        """
        if not text.startswith(_PREFIX):
            return text
        name, _, token = text.removeprefix(_PREFIX).partition(":")
        if name not in self.keys:
            raise ValueError(f"it is sealed with the key {name[:16]}, {self.absent}")
        from cryptography.fernet import InvalidToken  # noqa: PLC0415 - there is a key, so it is imported already

        try:
            return self.keys[name].decrypt(token.encode()).decode()
        except InvalidToken:
            raise ValueError(f"it was changed after it was sealed with the key {name}") from None


UNSEALED = Seal({}, "", "and store.encryption_key_file names no file; expected the file with that key")


class Keyring:
    """The key file. Keys are read when they are first needed and stay until the process ends."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._seal = UNSEALED

    def seal(self) -> Seal:
        """What to seal and to open with.

        Raises
        ------
        KeyMissing
            When the file cannot be used.
        """
        if self._file is not None and self._seal is UNSEALED:
            self._seal = _read(self._file)
        return self._seal

    def opener(self) -> Seal:
        """What to open with; without a usable file that is what is not sealed."""
        try:
            return self.seal()
        except KeyMissing as error:
            return Seal({}, "", f"and {error}")


def add_key(file: Path) -> str:
    """Put a new key first in a file, which is made when it is not there; return the id of the key.

    Raises
    ------
    KeyMissing
        When what is in the file are no keys.
    OSError
        When it cannot be written.
    """
    from cryptography.fernet import Fernet  # noqa: PLC0415 - few seal

    before = b""
    if file.exists():
        _read(file)
        before = read_limited(file, _FILE_BYTES)
    key = Fernet.generate_key()
    write_atomically(file, key + b"\n" + before, mode=0o600)
    return _id(key)


def _read(file: Path) -> Seal:
    from cryptography.fernet import Fernet  # noqa: PLC0415 - few seal

    try:
        mode = stat.S_IMODE(file.stat().st_mode)
        lines = read_limited(file, _FILE_BYTES).splitlines()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise KeyMissing(f"the key file {file} cannot be read: {why}; expected one key a line") from None
    if mode & _TOO_OPEN:
        raise KeyMissing(f"the key file {file} has mode {mode:04o}; expected 0600, or 0640 for a group of its own")
    keys: dict[str, _Cipher] = {}
    for number, line in enumerate(lines, 1):
        key = line.strip()
        if not key or key.startswith(b"#"):
            continue
        try:
            keys[_id(key)] = Fernet(key)
        except ValueError:
            raise KeyMissing(f"{file}:{number} is no key; expected a line that 'aiops state key' wrote") from None
        register(key.decode())
    if not keys:
        raise KeyMissing(f"the key file {file} holds no key; 'aiops state key {file}' adds one")
    return Seal(keys, next(iter(keys)), f"which is not in {file} (it holds {', '.join(keys)}); expected it there too")


def _id(key: bytes) -> str:
    """Names a key without telling it."""
    return blake2s(key, digest_size=4).hexdigest()
