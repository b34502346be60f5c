"""YAML that ships with the program, read by libyaml where there is one: several times as fast.

Not for what others write: libyaml builds its tree by recursion in C, and a page of ``[`` ends the process.
"""

from typing import Any

import yaml

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load(text: str | bytes) -> Any:
    """Read one document; raises ``yaml.YAMLError``."""
    return yaml.load(text, _LOADER)  # noqa: S506 - both are safe loaders
