"""Settings of the store: where state lives, how much of it, how long."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Self

from pydantic import Field, PositiveInt, model_validator

from aiops.kit.settings import Duration, Section, Size

SYSTEM_DIRECTORY = Path("/var/lib/aiops")


def default_directory() -> Path:
    """Choose where state lives when nobody says.

    1. ``$STATE_DIRECTORY``, which systemd sets for ``StateDirectory=``;
    2. ``/var/lib/aiops`` if a package or an image has made it for us (it exists and is writable);
    3. ``$XDG_STATE_HOME/aiops``, by default ``~/.local/state/aiops``: no root needed to try things out.
    """
    given = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if given:
        return Path(given)
    if os.access(SYSTEM_DIRECTORY, os.W_OK | os.X_OK):
        return SYSTEM_DIRECTORY
    home = os.environ.get("XDG_STATE_HOME", "")
    if Path(home).is_absolute():
        return Path(home) / "aiops"
    try:
        return Path.home() / ".local" / "state" / "aiops"
    except RuntimeError:  # a user without a home, as in many containers
        return SYSTEM_DIRECTORY


class StoreSettings(Section):
    """State on disk and the window in memory. Memory of the window: 4.5 bytes × rows × series."""

    directory: Path = Field(default_factory=default_directory)
    """Folder of the archive and the snapshot. Default: ``$STATE_DIRECTORY``, else ``/var/lib/aiops`` if it exists and
    is writable, else ``$XDG_STATE_HOME/aiops`` (``~/.local/state/aiops``)."""
    window: Duration = Field(default=3600.0, gt=0)
    """How far back detectors see. An hour at 5 s is 720 rows: 3.2 MiB per 1000 series, long enough to fit on."""
    max_series: PositiveInt = 20_000
    """Most series kept; over it the newest are dropped, counted and reported. 20 000 × 1 h at 5 s are 62 MiB."""
    series_ttl: Duration = Field(default=1800.0, gt=0)
    """How long a series that nobody reports keeps its column and what was learnt about it. Half an hour outlasts the
    restart of a replica that loads a large model; longer only costs columns when pods are renamed by each rollout."""
    snapshot_interval: Duration = Field(default=300.0, gt=0)
    """How often window and detector state are written. A crash costs at most this much of the window, and a minute of
    the error budgets."""
    retention: Duration = Field(default=90 * 86_400.0, gt=0)
    """How long transitions, closed incidents and marks are kept: a quarter, the habit of reviews."""
    max_archive: Size = Field(default=256 * 1024 * 1024, ge=1024 * 1024)
    """Size above which the oldest records of the archive go before their time; some 400 000 transitions."""
    encryption_key_file: Path | None = None
    """File of keys, one a line (``aiops state key FILE`` adds one), mode 0600: the archive then keeps what alerts,
    incidents, people and language models said sealed. The first key seals, all of them open; read at the start. Without
    the file the daemon runs and pages, and the archive waits for it. Off: a key that is lost costs the history."""

    @model_validator(mode="after")
    def _can_seal(self) -> Self:
        if self.encryption_key_file is not None and find_spec("cryptography") is None:
            raise ValueError("encryption_key_file needs the package cryptography: pip install 'aiops[encryption]'")
        return self

    @property
    def archive_path(self) -> Path:
        """SQLite file of alerts, incidents and marks."""
        return self.directory / "archive.sqlite"

    @property
    def snapshot_path(self) -> Path:
        """File of the window and the detector state."""
        return self.directory / "snapshot.npz"

    @property
    def budgets_path(self) -> Path:
        """File of the error budgets between two snapshots."""
        return self.directory / "budgets.npz"

    def rows(self, step_seconds: float) -> int:
        """Rows of the window at a tick of ``step_seconds``, at least 2."""
        return max(2, round(self.window / step_seconds))
