"""Everything that the images carry may be passed on under Apache-2.0: by what each package says of itself."""

import re
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CNRI-Python", "ISC", "MIT", "MIT-0", "PSF-2.0",
    "Zlib",
}  # fmt: skip
"""SPDX names of licences that ask for a notice and nothing more."""
EXCEPTIONS = {"certifi": "MPL-2.0"}
"""Package → a licence that is not allowed in general. certifi is a list of certificates, passed on as it is; the MPL
asks only for changes of its own files."""
OLD_WORDS = {
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "2-clause BSD": "BSD-2-Clause",
    "3-Clause BSD License": "BSD-3-Clause",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
"""What packages said before there were SPDX expressions in their metadata."""


def said(name: str) -> str:
    """Licence of an installed package as an SPDX expression, or in its own words."""
    metadata = distribution(name).metadata
    if expression := metadata.get("License-Expression"):
        return str(expression)
    short = str(metadata.get("License") or "").strip()
    classified = [
        text.rpartition(" :: ")[2] for text in metadata.get_all("Classifier", []) if text.startswith("License :: ")
    ]
    words = [short] if short and "\n" not in short else classified
    return " AND ".join(OLD_WORDS.get(word, word) for word in words) or "unknown"


def allowed(expression: str, more: Iterable[str] = ()) -> bool:
    """Every part that must be kept is allowed; of alternatives one. Parentheses are left to a person."""
    known = ALLOWED | set(more)
    return any(
        all(part.strip() in known for part in re.split(r"\s+AND\s+", choice))
        for choice in re.split(r"\s+OR\s+", expression)
    )


def locked() -> list[Requirement]:
    lines = (ROOT / "requirements/run.txt").read_text().splitlines()
    found = [Requirement(line.rstrip("\\ ")) for line in lines if re.match(r"[A-Za-z0-9]", line)]
    return [one for one in found if one.marker is None or one.marker.evaluate()]


@pytest.mark.parametrize("requirement", locked(), ids=lambda one: str(one.name))
def test_a_locked_package_may_be_passed_on(requirement: Requirement) -> None:
    assert requirement.specifier.contains(distribution(requirement.name).version, prereleases=True)
    excepted = EXCEPTIONS.get(requirement.name)
    assert allowed(said(requirement.name), [excepted] if excepted else []), (
        f"{requirement.name} says {said(requirement.name)!r}; expected one of {sorted(ALLOWED)}"
    )


@pytest.mark.parametrize(
    ("expression", "fine"),
    [
        ("MIT", True),
        ("Apache-2.0 AND MIT", True),
        ("GPL-2.0-only OR MIT", True),
        ("GPL-3.0-only", False),
        ("MIT AND LGPL-2.1-only", False),
        ("MPL-2.0", False),
        ("(MIT OR GPL-2.0-only) AND GPL-3.0-only", False),
        ("unknown", False),
    ],
)
def test_what_is_allowed(expression: str, fine: bool) -> None:
    assert allowed(expression) is fine


def test_exceptions_are_needed() -> None:
    names = {requirement.name for requirement in locked()}
    assert set(EXCEPTIONS) <= names
    assert not [name for name in EXCEPTIONS if allowed(said(name))]
