"""Records as JSON text and back, exactly: NaN and infinities survive, unknown fields of a newer version are ignored.

JSON has no NaN, so ``"NaN"`` and ``"Infinity"`` are written as strings, and bytes in base64.
"""

from typing import Any, Generic, TypeVar

from pydantic import ConfigDict, TypeAdapter

Record = TypeVar("Record")
_EXACT = ConfigDict(ser_json_inf_nan="strings", ser_json_bytes="base64", val_json_bytes="base64")


class Codec(Generic[Record]):
    """Writes and reads one type of record (dataclass, named tuple, or a tuple of those).

    Raises
    ------
    ValueError
        From both methods: the record holds what its annotations exclude, or text that is not UTF-8; the text is
        not JSON, or not of this record.
    """

    def __init__(self, record: type[Record]) -> None:
        # pydantic takes no configuration for a dataclass that is not its own; a tuple around it carries it.
        wrapped: Any = tuple[record]  # type: ignore[valid-type]
        self._adapter: TypeAdapter[tuple[Record]] = TypeAdapter(wrapped, config=_EXACT)

    def dump(self, record: Record) -> str:
        """One line of JSON."""
        return self._adapter.dump_json((record,), warnings="error").decode()

    def load(self, text: str | bytes) -> Record:
        """Read what :meth:`dump` wrote."""
        return self._adapter.validate_json(text)[0]
