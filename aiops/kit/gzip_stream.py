"""Unpacking gzip that a stranger sent: in small pieces, and only whole streams count as whole."""

import zlib
from collections.abc import Iterator

PIECE_BYTES = 64 * 1024
MOST_MEMBERS = 1024
_GZIP = 16 + zlib.MAX_WBITS


class Inflater:
    """Unpacks a gzip stream of one or more members, piece by piece, in constant memory."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)
        self._members = 1
        self._started = False

    def unpack(self, packed: bytes) -> Iterator[bytes]:
        """Yield what ``packed`` adds, at most 64 KiB at a time; stop iterating to stop unpacking.

        Raises
        ------
        zlib.error
            When the stream is damaged, or has more than 1024 members (each costs far more than its 20 bytes).
        """
        self._started = self._started or bool(packed)
        while True:
            if self._member.eof and packed:
                self._next_member()
            piece = self._member.decompress(packed, PIECE_BYTES)
            if piece:
                yield piece
            packed = self._member.unconsumed_tail or self._member.unused_data
            # A full piece may leave output behind inside zlib although all input was taken.
            if not packed and len(piece) < PIECE_BYTES:
                return

    def finish(self) -> None:
        """Check at the end of input that the stream ended too; an empty body is whole."""
        if self._started and not self._member.eof:
            raise zlib.error("the stream breaks off")

    def _next_member(self) -> None:
        self._members += 1
        if self._members > MOST_MEMBERS:
            raise zlib.error(f"more than {MOST_MEMBERS} members")
        self._member = zlib.decompressobj(_GZIP)
