"""The seam of every notifier, and what is known of each receiver."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

Item_contra = TypeVar("Item_contra", contravariant=True)


class Notifier(Protocol[Item_contra]):
    """Brings items to one receiver. A :class:`~aiops.notify.lane.Lane` owns it and never calls :meth:`send`
    concurrently with itself.

    Attributes
    ----------
    name
        Stable, unique among its kind and without secrets: it becomes a metric label.
    kind
        ``alertmanager``, ``webhook`` …
    batch_size
        Most items that one call of :meth:`send` takes.
    """

    name: str
    kind: str
    batch_size: int

    def problem(self, item: Item_contra) -> str:
        """Why this item can never be sent, so that it alone is left out; ``""`` when it can."""
        ...

    def warning(self) -> str:
        """What is wrong with a receiver that takes everything all the same; ``""`` when nothing is."""
        ...

    async def send(self, items: Sequence[Item_contra]) -> None:
        """Deliver all or raise.

        Raises
        ------
        aiops.kit.retry.Temporary
            The same items may be taken later.
        aiops.kit.retry.Permanent
            They never will: do not try again.
        """
        ...


@dataclass(frozen=True, slots=True)
class ReceiverStatus:
    """Health of one receiver, and what became of the items meant for it.

    Attributes
    ----------
    queue_length, queue_capacity
        Items that wait now, and the most that may.
    sent
        Items that the receiver took.
    dropped
        Items that were given up: queue full (oldest first), waited too long, or not delivered before the stop.
    refused
        Items of calls that failed for good; an Alertmanager may have taken some of them.
    invalid
        Items that were not sent because they can never be valid.
    errors
        Calls that failed.
    latency_seconds
        Duration of the last call; NaN before the first.
    last_success_at, last_error_at
        UTC seconds; 0.0 = never.
    error
        Why the last call failed; empty when it did not.
    last_error, last_invalid
        The last reason of each, kept after recovery.
    warning
        What is wrong although everything is delivered.
    muted, deduped
        Items that were not meant for it: below its severity, or no news.
    """

    name: str
    kind: str
    queue_length: int
    queue_capacity: int
    sent: int = 0
    dropped: int = 0
    refused: int = 0
    invalid: int = 0
    errors: int = 0
    latency_seconds: float = float("nan")
    last_success_at: float = 0.0
    last_error_at: float = 0.0
    error: str = ""
    last_error: str = ""
    last_invalid: str = ""
    warning: str = ""
    muted: int = 0
    deduped: int = 0

    @property
    def healthy(self) -> bool:
        """The last call succeeded, or there was none yet."""
        return not self.error
