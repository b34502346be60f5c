"""What a detector offers whose models are fitted elsewhere: it hands out windows and takes back plain arrays.

Arrays travel as ``.npz`` without pickle, so that what comes back from another process is data and never code.
"""

import io
import json
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from aiops.detect.base import Window

Arrays = Mapping[str, NDArray[Any]]
"""Named plain arrays; a single number is an array without axes."""


@runtime_checkable
class Fitted(Protocol):
    """A detector with models from the fit worker. All methods belong to the loop that owns the detector."""

    name: str

    def ask(self, window: Window, most: int) -> Arrays | None:
        """Copy the data of up to ``most`` models that are due, and count them as asked for; None when none is."""
        ...

    def accept(self, window: Window, answer: Arrays) -> int:
        """Take over what the worker made of an earlier :meth:`ask`; return how many models are in use by it."""
        ...


def pack(arrays: Arrays) -> bytes:
    """Write arrays as an ``.npz`` file.

    Raises
    ------
    ValueError
        When an array holds Python objects.
    """
    objects = [name for name, array in arrays.items() if np.asarray(array).dtype.hasobject]
    if objects:
        raise ValueError(f"only plain arrays can be packed; these hold Python objects: {', '.join(objects)}")
    content = io.BytesIO()
    np.savez(content, **{name: np.asarray(array) for name, array in arrays.items()})  # type: ignore[arg-type]
    return content.getvalue()


def unpack(content: bytes) -> dict[str, NDArray[Any]]:
    """Read what :func:`pack` wrote.

    Raises
    ------
    ValueError
        When it is damaged, or is something else.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as members:
            return {name: members[name] for name in members.files}
    except Exception as error:
        raise ValueError(f"{len(content)} bytes are no arrays ({type(error).__name__}: {error})") from error


def text_array(value: object) -> NDArray[np.uint8]:
    """JSON as an array of bytes, so that names can travel with the numbers."""
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def text_of(array: NDArray[Any]) -> Any:
    """What :func:`text_array` was given; lists for tuples."""
    return json.loads(array.astype(np.uint8).tobytes())


def part(arrays: Arrays, name: str) -> dict[str, NDArray[Any]]:
    """Members under ``name.``, without that prefix."""
    prefix = f"{name}."
    return {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}


def prefixed(arrays: Arrays, name: str) -> dict[str, NDArray[Any]]:
    """The opposite of :func:`part`."""
    return {f"{name}.{key}": array for key, array in arrays.items()}
