"""The few pages that must work without scripts, such as the form behind a link in a notice."""

from html import escape


def frame(title: str, body: str, *, up: str = "") -> str:
    """Return a whole page around a body that is HTML already; ``up`` leads from here to the root."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="stylesheet" href="{up}static/style.css"></head><body><main>{body}</main></body></html>'
    )
