import pytest

from aiops.app.presets import Folder, cause_book, shipped
from aiops.diagnose.signature import CauseBook
from aiops.lab.incidents import STORIES, TELEMETRY_FAULT

ACTIONS = "actions: {look: Look at it}"
ONE = """
causes:
  - {id: a, title: A, at: gpu, requires: [gpu_temp rises], fix: Cool it, actions: [look], runbook: x}
"""


def test_the_shipped_book() -> None:
    book = cause_book()
    assert len(book.causes) >= 30
    runbooks = {path.stem for path in (shipped(Folder.ALERT_RULES) / "runbooks").glob("*.md")}
    assert {one.runbook for one in book.causes} <= runbooks
    assert {name for one in book.causes for name in one.actions} == set(book.actions)
    assert {one.id for one in book.causes} == set(STORIES) - {TELEMETRY_FAULT}
    for one in book.causes:
        assert one.supports or one.denies, one.id
        assert one.look_alikes, one.id


def test_a_small_book() -> None:
    book = CauseBook.parse({"actions.yaml": ACTIONS, "gpu.yaml": ONE})
    assert [one.id for one in book.causes] == ["a"]
    assert book.causes[0].requires[0].text == "gpu_temp rises"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("gpu_temp rises", "heat rises"), "gpu.yaml: .*causes.*requires.*'heat'"),
        (("[look]", "[jump]"), "cause a: actions: there is no jump"),
        (("fix: Cool it", "look_alikes: [b], fix: x"), "cause a: look_alikes: there is no b"),
        (("fix: Cool it", "explains: [a], fix: x"), "in a circle: a"),
        (("runbook: x", "runbook: x, colour: red"), "gpu.yaml: .*colour"),
        (("at: gpu", "at: moon"), "gpu.yaml: .*at"),
        (("fix: Cool it, ", ""), "gpu.yaml: .*fix"),
        (("id: a", "id: A b"), "gpu.yaml: .*id"),
        (("causes:", "causes: ["), "gpu.yaml: not YAML"),
    ],
)
def test_a_wrong_document_is_refused_by_name(change: tuple[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=f"(?s){says}"):
        CauseBook.parse({"actions.yaml": ACTIONS, "gpu.yaml": ONE.replace(*change)})


def test_two_of_one_name_and_no_actions() -> None:
    with pytest.raises(ValueError, match="these causes are there twice: a"):
        CauseBook.parse({"actions.yaml": ACTIONS, "gpu.yaml": ONE, "more.yaml": ONE})
    with pytest.raises(ValueError, match=r"actions\.yaml is missing"):
        CauseBook.parse({"gpu.yaml": ONE})
