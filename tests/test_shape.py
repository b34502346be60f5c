"""The house rules that a machine can hold: sizes, mirrored tests, one list of signals."""

import ast
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "aiops").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60
FORBIDDEN_NAMES = {"utils", "helpers", "manager", "common", "misc"}


def functions(path: Path) -> list[tuple[str, int]]:
    tree = ast.parse(path.read_text())
    return [
        (node.name, (node.end_lineno or node.lineno) - node.lineno + 1)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_and_no_function_is_too_long(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= MAX_FILE_LINES, f"{path.relative_to(ROOT)} has {lines} lines"
    long = {name: size for name, size in functions(path) if size > MAX_FUNCTION_LINES}
    assert not long, f"{path.relative_to(ROOT)}: functions over {MAX_FUNCTION_LINES} lines: {long}"


def test_the_median_stays_small() -> None:
    assert median(len(path.read_text().splitlines()) for path in SOURCES) <= 200
    assert median(size for path in SOURCES for _, size in functions(path)) <= 15


def test_no_drawer_for_odds_and_ends() -> None:
    assert not [path for path in SOURCES if FORBIDDEN_NAMES & set(path.with_suffix("").parts)]


def test_every_module_says_what_it_is_for() -> None:
    silent = [str(path.relative_to(ROOT)) for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text()))]
    assert not silent


def test_tests_mirror_the_rooms() -> None:
    rooms = {path.name for path in (ROOT / "aiops").iterdir() if path.is_dir() and not path.name.startswith("_")}
    for folder in (ROOT / "tests").iterdir():
        if folder.is_dir() and any(folder.glob("test_*.py")):
            assert folder.name in rooms | {"real", "hardware"}, f"tests/{folder.name} mirrors no room"


def test_no_pickle_no_eval() -> None:
    for path in SOURCES:
        names = {
            node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call)
        }
        imports = {
            alias.name.partition(".")[0]
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        } | {
            (node.module or "").partition(".")[0]
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom)
        }
        assert not imports & {"pickle", "joblib", "marshal", "shelve"}, path
        assert "eval" not in names, path
        assert "exec" not in names, path
