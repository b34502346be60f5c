"""Reference pages show types, defaults and meanings, and survive awkward text."""

from typing import Literal

from pydantic import Field, SecretStr

from aiops.kit.settings import Duration, Secret, Section, Size
from aiops.render.reference import Command, commands_page, configuration_page, markdown_table, signals_page
from aiops.signals.catalog import SIGNALS


class Inner(Section):
    """Inner things."""

    token: Secret = SecretStr("")
    """Never shown."""


class Item(Section):
    """One item."""

    name: str
    """Its name | with a pipe."""
    wait: Duration = 90.0
    """How long."""
    inner: Inner = Inner()
    """Nested."""


class Whole(Section):
    """The whole."""

    mode: Literal["a", "b"] = "a"
    """Which."""
    share: float = Field(0.5, gt=0, le=1)
    """Ratio."""
    room: Size = 2**24
    """Bytes."""
    items: list[Item] = Field(default_factory=list)
    """Items."""
    named: dict[str, Item] = Field(default_factory=dict)
    """Items by name."""
    old: bool = Field(default=False, deprecated=True)
    """Gone soon."""
    maybe: int | None = None
    """Optional."""


def test_configuration_page() -> None:
    page = configuration_page(Whole.model_json_schema(), Whole().model_dump(mode="json"), "Introduction.\n")
    for line in (
        "| `mode` | `a` or `b` | `a` | Which. |",
        "| `share` | number (> 0, ≤ 1) | `0.5` | Ratio. |",
        "| `room` | size | `16MiB` | Bytes. |",
        "| `items` | list of section | empty | Items. |",
        "| `old` | boolean | `false` | **Deprecated.** Gone soon. |",
        "| `maybe` | whole number | none | Optional. |",
        "## `items[]`\n\nOne item.\n",
        "| `name` | text | required | Its name \\| with a pipe. |",
        "| `wait` | duration | `1m30s` | How long. |",
        "| `inner` | section | see below | Nested. |",
        "## `items[].inner`\n\nInner things.\n",
        "| `token` | secret | empty | Never shown. |",
        "## `named.<name>`\n\nAs `items[]`.\n",
    ):
        assert line in page
    assert page.count("Inner things.") == 1


def test_signals_page_has_all() -> None:
    page = signals_page(SIGNALS.values())
    assert all(f"| `{name}` |" in page for name in SIGNALS)


def test_commands_page() -> None:
    page = commands_page(
        [Command("aiops x", "Does x.", (("`--y`", "", "Y."),)), Command("aiops z", "Z.", ())], "Intro.\n"
    )
    assert (
        "## `aiops x`\n\nDoes x.\n\n| argument | default | meaning |\n| --- | --- | --- |\n| `--y` |  | Y. |\n" in page
    )
    assert page.endswith("## `aiops z`\n\nZ.\n")


def test_cells_cannot_break_the_table() -> None:
    assert markdown_table(["a"], [["x\ny | z"]]) == "| a |\n| --- |\n| x y \\| z |\n"
