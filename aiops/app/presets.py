"""Where the shipped data folders are: inside an installed package, or at the top of a checkout."""

from enum import StrEnum
from importlib.resources import files
from pathlib import Path


class Folder(StrEnum):
    """Data that ships with the program; names as at the top of the repository."""

    MODELS = "models"
    ALERT_RULES = "alert_rules"
    DASHBOARDS = "dashboards"


def shipped(folder: Folder, package: Path | None = None) -> Path:
    """Find a data folder.

    A wheel carries it as ``aiops/_data/…``; an editable install has no ``_data`` and uses the checkout around it.

    Parameters
    ----------
    package
        Folder of the package, for tests; by default where ``aiops`` was imported from.

    Raises
    ------
    FileNotFoundError
        Neither place has it: the installation is damaged.
    """
    home = package if package is not None else Path(str(files("aiops")))
    places = (home / "_data" / folder, home.parent / folder)
    for place in places:
        if place.is_dir():
            return place
    raise FileNotFoundError(f"the data folder {folder} is in neither {places[0]} nor {places[1]}; install aiops again")
