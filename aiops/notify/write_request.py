"""Samples as the body of a remote write of Prometheus: protocol buffers in a snappy block.

The message is three levels deep and its schema is frozen, so it is written by hand: labels are encoded once per series
and kept by the caller. ``cramjam`` has its home here; without it there is no remote write.

References
----------
Prometheus Remote-Write 1.0 specification, https://prometheus.io/docs/specs/prw/remote_write_spec/
"""

import struct
from collections.abc import Iterable, Mapping

from aiops.kit.retry import Permanent

STALE = bytes.fromhex("020000000000f07f")
"""The NaN by which a series says that it ended. Bytes, because its payload need not survive as a float."""
_ZERO = bytes(8)


def series_head(name: str, labels: Mapping[str, str]) -> bytes:
    """Encode the labels of a series: sorted, and without empty ones, which are as good as none."""
    pairs = sorted({**labels, "__name__": name}.items())
    return b"".join(_field(1, _text(1, key) + _text(2, value)) for key, value in pairs if value)


def number(value: float) -> bytes:
    """Encode a value."""
    return struct.pack("<d", value)


def write_request(rows: Iterable[tuple[bytes, bytes]], milliseconds: int) -> bytes:
    """Encode one sample of each series.

    Parameters
    ----------
    rows
        :func:`series_head` and :func:`number` or :data:`STALE`; a series stands there once.
    milliseconds
        When, UTC.
    """
    # What has the value that is meant when it is missing is left out, as the reference encoder does.
    when = b"\x10" + _varint(milliseconds) if milliseconds else b""
    return b"".join(
        _field(1, head + _field(2, (b"" if value == _ZERO else b"\x09" + value) + when)) for head, value in rows
    )


def packed(body: bytes) -> bytes:
    """Compress into one snappy block.

    Raises
    ------
    Permanent
        When the library is not installed.
    """
    try:
        import cramjam  # noqa: PLC0415 - only for whom writes remotely
    except ImportError as error:
        raise Permanent(f"remote_write needs the package cramjam (aiops[write]): {error}") from error
    return bytes(cramjam.snappy.compress_raw(body))


def _field(place: int, content: bytes) -> bytes:
    return bytes((place << 3 | 2,)) + _varint(len(content)) + content


def _text(place: int, text: str) -> bytes:
    return _field(place, text.encode())


def _varint(count: int) -> bytes:
    out = bytearray()
    while count > 0x7F:
        out.append(count & 0x7F | 0x80)
        count >>= 7
    out.append(count)
    return bytes(out)
