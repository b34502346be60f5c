"""Keeping resident memory near what is in use: glibc otherwise keeps what a burst once needed.

A daemon with threads gets a heap per thread and core, and a snapshot leaves a hole of its size in each. Two calls of
glibc undo both; where there is another C library they do nothing. OpenBLAS starts a thread per core when numpy is
imported, and none of our matrices is large enough to share.
"""

import ctypes
import os
from functools import lru_cache
from pathlib import Path

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_ARENAS = 2
_LARGE_BYTES = 256 * 1024

ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
"""Environment in which numerical libraries start no threads of their own."""


def limit_threads() -> None:
    """Have numerical libraries start no threads, unless the environment says otherwise; call before importing numpy."""
    for name, value in ONE_THREAD.items():
        os.environ.setdefault(name, value)


@lru_cache(maxsize=1)
def _glibc() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None


def limit_heaps() -> bool:
    """Use few heaps, and give large blocks back at once; call before threads start. False where it cannot be."""
    library = _glibc()
    if library is None:
        return False
    settings = ((_M_ARENA_MAX, _ARENAS), (_M_MMAP_THRESHOLD, _LARGE_BYTES), (_M_TRIM_THRESHOLD, _LARGE_BYTES))
    taken = [library.mallopt(name, value) == 1 for name, value in settings]
    return all(taken)


def give_back() -> None:
    """Return free memory to the system: after a snapshot, a fit, a large page. Takes about a millisecond."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


def resident_bytes() -> float:
    """Memory of this process that is in RAM; NaN where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return float("nan")
    return float(pages * os.sysconf("SC_PAGE_SIZE"))
