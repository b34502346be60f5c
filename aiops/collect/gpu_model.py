"""What an NVIDIA driver's numbers mean: clock-limit bits and Xid errors, as data (``models/gpus/nvidia.yaml``).

Adding an Xid or a clock reason is an edit of that file, no code. What the table does not know is still
reported, by number.
"""

from enum import StrEnum
from typing import Literal, Self

import yaml
from pydantic import Field

from aiops.kit.settings import Section


class ClockLimit(StrEnum):
    """What holds the clocks down when a bit is set; ``none`` is no harm, ``other`` is harm of unsaid cause."""

    THERMAL = "thermal"
    POWER = "power"
    BRAKE = "brake"
    OTHER = "other"
    NONE = "none"


class ClockReason(Section):
    """One bit of the clock-reason mask."""

    bit: int = Field(gt=0)
    """Value of the bit in the mask."""
    name: str
    """Short name for people."""
    limit: ClockLimit
    """Which limit the bit belongs to."""
    meaning: str
    """One sentence."""


class Xid(Section):
    """One Xid error number."""

    family: Literal["application", "memory", "link", "bus", "firmware", "driver"]
    """Where the fault usually lies."""
    severity: Literal["critical", "warning", "info"]
    """How much it matters for serving."""
    meaning: str
    """One sentence."""
    action: str
    """What a person should do."""


class NvidiaModel(Section):
    """Both tables."""

    clock_reasons: tuple[ClockReason, ...]
    """Bits of the mask; unknown bits are ignored."""
    xids: dict[int, Xid]
    """Xid number to what it means."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the YAML text of ``nvidia.yaml``; raises ``pydantic.ValidationError`` naming the bad entry."""
        return cls.model_validate(yaml.safe_load(text))

    def mask(self, limit: ClockLimit) -> int:
        """All bits of one limit, or-ed."""
        mask = 0
        for reason in self.clock_reasons:
            if reason.limit is limit:
                mask |= reason.bit
        return mask

    def describe_xid(self, code: int) -> str:
        """One line for a person; says so when the table does not know the number."""
        xid = self.xids.get(code)
        if xid is None:
            return f"Xid {code}: not in the table of known errors; look it up in the driver's documentation."
        return f"Xid {code} ({xid.severity}, {xid.family}): {xid.meaning} {xid.action}"
