from pathlib import Path

import pytest
from pydantic import ValidationError

from aiops.store import settings as module
from aiops.store.settings import StoreSettings


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("STATE_DIRECTORY", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(module, "SYSTEM_DIRECTORY", tmp_path / "var")


def test_state_lives_at_home_by_default(tmp_path: Path) -> None:
    assert StoreSettings().directory == tmp_path / "home" / ".local" / "state" / "aiops"


def test_each_better_place_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    assert StoreSettings().directory == tmp_path / "xdg" / "aiops"
    (tmp_path / "var").mkdir()
    assert StoreSettings().directory == tmp_path / "var"
    monkeypatch.setenv("STATE_DIRECTORY", f"{tmp_path}/systemd:{tmp_path}/second")
    assert StoreSettings().directory == tmp_path / "systemd"
    assert StoreSettings(directory=tmp_path).snapshot_path == tmp_path / "snapshot.npz"


def test_a_relative_state_home_is_ignored_as_its_specification_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert StoreSettings().directory == tmp_path / "home" / ".local" / "state" / "aiops"


def test_units_and_limits() -> None:
    section = StoreSettings.model_validate({"window": "10m", "retention": "1d", "max_archive": "4MiB"})
    assert (section.rows(5.0), section.retention, section.max_archive) == (120, 86_400.0, 4 * 2**20)
    assert StoreSettings(window=1.0).rows(5.0) == 2
    for bad in ({"window": 0}, {"max_series": 0}, {"max_archive": "1KiB"}, {"retentoin": "1d"}):
        with pytest.raises(ValidationError):
            StoreSettings.model_validate(bad)
