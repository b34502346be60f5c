"""What the values of flags may be: from text, or an error that says what was expected."""

import argparse

from aiops.app.output import Output


def positive(text: str) -> float:
    """More than 0."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return value


def not_negative(text: str) -> float:
    """Seconds, or 0."""
    return 0.0 if float(text) == 0.0 else positive(text)


def duration(text: str) -> float:
    """Seconds from ``90``, ``90s``, ``1h30m`` …"""
    from aiops.kit.settings import parse_duration  # noqa: PLC0415 - brings pydantic, and only here

    try:
        return positive(str(parse_duration(text)))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def share_or_one(text: str) -> float:
    """Between 0 and 1, or 1."""
    return 1.0 if float(text) == 1.0 else share(text)


def count(text: str) -> int:
    """1 or more."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is too few; expected at least 1")
    return value


def whole(text: str) -> int:
    """0 or more."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is less than nothing; expected 0 or more")
    return value


def share(text: str) -> float:
    """Between 0 and 1, and neither."""
    value = float(text)
    if not 0.0 < value < 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is no share; expected a number between 0 and 1")
    return value


def form(text: str) -> Output:
    """A form of data."""
    try:
        return Output(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"there is no {text!r}; expected {', '.join(Output)}") from None
