"""Leaving detectors out under overload: keeps the decision, counts what it cost, and says when it changes."""

import logging
from collections import Counter
from collections.abc import Iterator

from aiops.detect.shedding import ORDER, Shedding
from aiops.signals.telemetry import Family, FamilyKind

_LOG = logging.getLogger("aiops.app.shedding")


class Overload:
    """What the next turn leaves out, and how often each detector was."""

    def __init__(self) -> None:
        self._decision = Shedding()
        self._turns: Counter[str] = Counter()

    @property
    def left_out(self) -> frozenset[str]:
        """Names of the detectors that the next turn leaves out."""
        return self._decision.left_out

    def note(self, seconds: float, interval_seconds: float) -> None:
        """Take in a turn that took ``seconds``, and decide about the next one."""
        before = self.left_out
        self._turns.update(before)
        self._decision = self._decision.after(seconds, interval_seconds)
        if self.left_out == before:
            return
        told = {"left_out": ", ".join(self.names()) or "none", "turn_seconds": round(seconds, 3)}
        if len(self.left_out) > len(before):
            _LOG.warning("turns take too long: a detector is left out", extra=told)
        else:
            _LOG.info("a detector is back", extra=told)

    def names(self) -> list[str]:
        """What is left out, first to go first."""
        return [name for name in ORDER if name in self.left_out]

    def families(self) -> Iterator[Family]:
        """Every detector that may be left out, from the start."""
        gauge, counter = FamilyKind.GAUGE, FamilyKind.COUNTER
        yield Family("aiops_detectors_shed", gauge, "1 while the detector is left out because turns take too long.",
                     [({"detector": name}, float(name in self.left_out)) for name in ORDER])  # fmt: skip
        yield Family("aiops_detector_turns_shed", counter, "Turns that left the detector out.",
                     [({"detector": name}, float(self._turns[name])) for name in ORDER])  # fmt: skip
