"""The window and what the detectors learnt, in one file that survives kill -9, a full disk, damage and an upgrade.

An uncompressed ``.npz`` without pickle: a member ``header`` (JSON: format, version, the ring's keys, signatures) and
one member per array. :func:`capture` copies on the loop that owns the ring; :func:`write` and :func:`read` do the
slow part and may run in a thread. A file that cannot be understood is put aside and reported: the daemon then starts
cold, which costs a warm-up and nothing else.
"""

import contextlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aiops.kit.files import write_atomically
from aiops.kit.retry import Temporary
from aiops.signals.types import SeriesKey
from aiops.store.codec import Codec
from aiops.store.quarantine import quarantine
from aiops.store.ring import Ring, RingState

FORMAT = "aiops-snapshot"
VERSION = 1
FIXED = "fixed_"
"""Arrays whose name starts so are not per column, whatever their length (the nodes of a tree, for example)."""

Arrays = Mapping[str, NDArray[np.generic]]
_RING_ARRAYS = {
    "columns": np.intp,
    "generation": np.int64,
    "values": np.float32,
    "latest": np.float64,
    "latest_at": np.float64,
    "last_seen": np.float64,
    "unseen_seconds": np.float64,
}


@dataclass(frozen=True, slots=True)
class SavedState:
    """Arrays of one detector (or of anything else that learns per column).

    ``signature`` names what wrote them: the class, its version and its settings. Under another signature they mean
    something else and are not given back.
    """

    signature: str
    arrays: Arrays


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A moment: UTC seconds, the ring, and named states whose columns are those of ``ring``."""

    saved_at: float
    ring: RingState
    states: Mapping[str, SavedState]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What :func:`read` found.

    Attributes
    ----------
    snapshot
        None when there is no file, or none that can be used.
    problem
        Why a file that is there was not used, for the log and the status page; empty when all is well.
    """

    snapshot: Snapshot | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class _StateHeader:
    """Names every array: CRCs guard what is in the file, only a list shows what is not."""

    signature: str
    arrays: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Header:
    format: str
    version: int
    saved_at: float
    now: float
    step_seconds: float
    capacity: int
    generations: int
    keys: tuple[SeriesKey, ...]
    states: dict[str, _StateHeader]


_HEADER = Codec(_Header)
_ZIP = b"PK\x03\x04"


def capture(ring: Ring, states: Mapping[str, SavedState], now: float) -> Snapshot:
    """Copy everything, so that the snapshot can be written while the daemon goes on."""
    copies = {
        name: SavedState(state.signature, {key: np.array(array) for key, array in state.arrays.items()})
        for name, state in states.items()
    }
    return Snapshot(now, ring.export(), copies)


def write(path: Path, snapshot: Snapshot) -> None:
    """Write as one step; the file is readable by its owner only. Blocks for the disk.

    Raises
    ------
    Temporary
        When the disk is full, read only or gone; the snapshot before is untouched.
    ValueError
        When an array holds Python objects.
    """
    ring = snapshot.ring
    header = _Header(
        FORMAT,
        VERSION,
        snapshot.saved_at,
        ring.now,
        ring.step_seconds,
        ring.capacity,
        ring.generations,
        ring.keys,
        {name: _StateHeader(state.signature, tuple(state.arrays)) for name, state in snapshot.states.items()},
    )
    members: dict[str, NDArray[np.generic]] = {"header": np.frombuffer(_HEADER.dump(header).encode(), np.uint8)}
    members |= {f"ring/{name}": getattr(ring, name) for name in _RING_ARRAYS}
    for name, state in snapshot.states.items():
        members |= {f"state/{name}/{key}": array for key, array in state.arrays.items()}
    objects = [name for name, array in members.items() if array.dtype.hasobject]
    if objects:
        raise ValueError(f"a snapshot holds plain arrays only; these hold Python objects: {', '.join(objects)}")
    content = io.BytesIO()
    np.savez(content, **members)  # type: ignore[arg-type]
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(path, content.getvalue(), mode=0o600)
    except OSError as error:
        # Without the name of the temporary file, which differs each time: a fault that lasts is told once.
        raise Temporary(f"cannot write the snapshot {path}: {error.strerror or error}") from error


def read(path: Path, now: float) -> Loaded:
    """Read a snapshot; never raises for what the file or the disk is like. ``now``: UTC seconds, names a bad file."""
    _sweep(path)
    try:
        return Loaded(_parsed(path))
    except FileNotFoundError:
        return Loaded(None)
    except OSError as error:
        return Loaded(None, f"cannot read the snapshot {path}: {error}")
    except Exception as error:  # noqa: BLE001 - whatever a damaged file provokes, it is a damaged file
        place = quarantine(path, now)
        aside = f"moved to {place.name}" if place else "and it cannot be moved away"
        return Loaded(None, f"the snapshot {path} is not usable ({type(error).__name__}: {error}), {aside}")


def peek(path: Path) -> Loaded:
    """Read the snapshot of a daemon that may run, and leave the file where it is, whatever it is like."""
    try:
        return Loaded(_parsed(path))
    except FileNotFoundError:
        return Loaded(None, f"{path} is not there: the daemon has written no snapshot yet")
    except Exception as error:  # noqa: BLE001 - whatever a damaged file provokes, it is a damaged file
        return Loaded(None, f"the snapshot {path} is not usable ({type(error).__name__}: {error})")


def state_for(snapshot: Snapshot, name: str, signature: str, ring: Ring) -> dict[str, NDArray[np.generic]] | None:
    """Give back a state whose columns stand where ``ring`` has them now; None when there is none of that signature.

    Restore the ring first.
    """
    saved = snapshot.states.get(name)
    if saved is None or saved.signature != signature:
        return None
    return moved(saved.arrays, snapshot.ring, ring)


def moved(arrays: Arrays, before: RingState, ring: Ring) -> dict[str, NDArray[np.generic]]:
    """Move per-column arrays from the columns of ``before`` to those of the same series in ``ring``.

    An array is per column when its last axis has ``before.capacity`` places and its name does not start with
    :data:`FIXED` (after a dot, where names have parts); others are returned as they are. Columns without a past are
    NaN, or 0 where the type has no NaN.
    """
    places = [ring.column_of(key) for key in before.keys]
    old = np.array([column for column, place in zip(before.columns, places, strict=True) if place is not None], np.intp)
    new = np.array([place for place in places if place is not None], np.intp)
    result: dict[str, NDArray[np.generic]] = {}
    for name, array in arrays.items():
        if name.rpartition(".")[2].startswith(FIXED) or not array.ndim or array.shape[-1] != before.capacity:
            result[name] = array
            continue
        fill = np.nan if array.dtype.kind in "fc" else 0
        result[name] = np.full((*array.shape[:-1], ring.capacity), fill, array.dtype)
        result[name][..., new] = array[..., old]
    return result


def _sweep(path: Path) -> None:
    """Remove what a killed write left beside the file."""
    with contextlib.suppress(OSError):
        for leftover in path.parent.glob(f".{path.name}.*.tmp"):
            leftover.unlink(missing_ok=True)


def _parsed(path: Path) -> Snapshot:
    if path.exists() and not path.is_file():
        raise ValueError("not a regular file")
    with path.open("rb") as file:
        if file.read(len(_ZIP)) != _ZIP:  # numpy would take it for a pickle, and advise to trust it
            raise ValueError("damaged: it does not begin as an npz archive does")
    with path.open("rb") as file, np.load(file, allow_pickle=False) as members:
        header = _HEADER.load(members["header"].tobytes())
        if (header.format, header.version) != (FORMAT, VERSION):
            raise ValueError(f"expected {FORMAT} version {VERSION}, found {header.format} version {header.version}")
        arrays = {name: members[f"ring/{name}"] for name in _RING_ARRAYS}
        states = {
            name: SavedState(state.signature, {key: members[f"state/{name}/{key}"] for key in state.arrays})
            for name, state in header.states.items()
        }
    _check(header, arrays)
    ring = RingState(header.now, header.step_seconds, header.capacity, header.generations, header.keys, **arrays)
    return Snapshot(header.saved_at, ring, states)


def _check(header: _Header, arrays: Arrays) -> None:
    """Raise ValueError unless header and arrays belong together: a ring trusts its state."""
    count = len(header.keys)
    for name, dtype in _RING_ARRAYS.items():
        array = arrays[name]
        if array.dtype != dtype or array.shape[-1:] != (count,) or array.ndim != (2 if name == "values" else 1):
            raise ValueError(f"ring/{name}: {array.dtype}{array.shape} does not fit {count} series")
    columns = arrays["columns"].tolist()
    if len(set(header.keys)) != count or len(set(columns)) != count:
        raise ValueError("a series or a column stands twice")
    if count and not 0 <= min(columns) <= max(columns) < header.capacity:
        raise ValueError(f"a column lies outside the capacity {header.capacity}")
    if not header.step_seconds > 0 or not np.isfinite([header.now, header.step_seconds, header.saved_at]).all():
        raise ValueError(f"step {header.step_seconds} or time {header.now} is not a time")
