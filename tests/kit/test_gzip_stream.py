import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.kit.gzip_stream import PIECE_BYTES, Inflater


def unpack(packed: bytes, step: int) -> bytes:
    inflater = Inflater()
    pieces = [piece for at in range(0, len(packed), step) for piece in inflater.unpack(packed[at : at + step])]
    inflater.finish()
    assert all(0 < len(piece) <= PIECE_BYTES for piece in pieces)
    return b"".join(pieces)


@given(st.lists(st.binary(max_size=300), max_size=5), st.integers(1, 3000), st.integers(1, 64))
def test_same_as_gzip_however_it_is_cut(members: list[bytes], times: int, step: int) -> None:
    packed = b"".join(gzip.compress(member * times) for member in members)
    assert unpack(packed, step) == gzip.decompress(packed)


@pytest.mark.parametrize("size", [PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES])
def test_output_that_fills_a_piece_exactly_is_not_left_inside(size: int) -> None:
    assert unpack(gzip.compress(bytes(size)), 1 << 20) == bytes(size)


def test_every_prefix_is_broken_off() -> None:
    packed = gzip.compress(b"a page")
    for end in range(1, len(packed)):
        with pytest.raises(zlib.error, match="breaks off"):
            unpack(packed[:end], 7)
    assert unpack(b"", 1) == b""


@given(st.binary(min_size=1, max_size=40))
def test_rubbish_never_passes(rubbish: bytes) -> None:
    with pytest.raises(zlib.error):
        unpack(rubbish, 7)


def test_a_flipped_bit_is_found_by_the_checksum() -> None:
    packed = bytearray(gzip.compress(b"a page", compresslevel=0))
    packed[18] ^= 1
    with pytest.raises(zlib.error):
        unpack(bytes(packed), 100)


def test_number_of_members_is_capped() -> None:
    assert unpack(gzip.compress(b"a") * 1024, 1000) == b"a" * 1024
    with pytest.raises(zlib.error, match="members"):
        unpack(gzip.compress(b"a") * 1025, 1000)
