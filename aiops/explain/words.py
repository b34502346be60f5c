"""What ids are called in a language: signals, causes, actions. The first name is written, the others are understood."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from aiops.kit.text import UNSAFE, clipped
from aiops.signals.catalog import SIGNALS

LONGEST_NAME = 120


class Language(StrEnum):
    """Languages that the narrator speaks."""

    EN = "en"
    ZH = "zh"


def plain(text: str, limit: int = 300) -> str:
    """Text of strangers made fit to stand in a sentence: one line, no control, invisible or reordering character."""
    return clipped(" ".join(UNSAFE.sub(" ", text).split()), limit)


@dataclass(frozen=True, slots=True)
class Words:
    """Names in both languages.

    Attributes
    ----------
    signals
        Signal → language → names.
    causes, fixes, actions
        Id → language → text. An id without one is shown as it is.
    """

    signals: Mapping[str, Mapping[Language, tuple[str, ...]]]
    causes: Mapping[str, Mapping[Language, str]] = field(default_factory=dict)
    fixes: Mapping[str, Mapping[Language, str]] = field(default_factory=dict)
    actions: Mapping[str, Mapping[Language, str]] = field(default_factory=dict)

    def signal(self, name: str, stat: str, language: Language) -> str:
        """Name of a series, such as ``time to first token (p95)``."""
        called = self.signals[name][language][0] if name in self.signals else name
        return f"{called} ({stat})" if stat else called

    def cause(self, cause: str, language: Language, title: str = "") -> str:
        """Title of a cause; ``title`` where we have none of our own."""
        return self.causes.get(cause, {}).get(language) or title or cause

    def fix(self, cause: str, language: Language, fix: str) -> str:
        """The remedy of a cause; ``fix`` where we have none of our own."""
        return self.fixes.get(cause, {}).get(language) or fix

    def action(self, action: str, language: Language) -> str:
        """What to do."""
        return self.actions.get(action, {}).get(language) or action


def parse_signals(document: object, where: str) -> Mapping[str, Mapping[Language, tuple[str, ...]]]:
    """Read ``models/words/signals.yaml``.

    Raises
    ------
    ValueError
        When a signal of the catalogue is not there, one is there that the catalogue lacks, a language has no name for
        it, or two signals have one name.
    """
    if not isinstance(document, Mapping) or set(document) != set(SIGNALS):
        given = set(document) if isinstance(document, Mapping) else set()
        raise ValueError(f"{where}: expected exactly the signals of the catalogue; differs in {given ^ set(SIGNALS)}")
    taken: dict[str, str] = {}
    read: dict[str, dict[Language, tuple[str, ...]]] = {}
    for signal, names in document.items():
        read[signal] = {language: tuple(str(name) for name in names[language]) for language in Language}
        for name in (name for language in Language for name in read[signal][language]):
            if not name or taken.setdefault(name.lower(), signal) != signal:
                raise ValueError(f"{where}: {signal} and {taken.get(name.lower())} are both called {name!r}")
        if not all(read[signal].values()):
            raise ValueError(f"{where}: {signal} has no name in one of {', '.join(Language)}")
    return read


def words_of(
    signals: Mapping[str, Mapping[Language, tuple[str, ...]]],
    causes: Mapping[str, tuple[str, str]],
    actions: Mapping[str, str],
    *,
    chinese: object,
    where: str,
) -> Words:
    """Join our English names with the Chinese ones of ``models/words/causes.yaml``.

    Parameters
    ----------
    causes
        Id → title and fix, in English.
    actions
        Id → text, in English.

    Raises
    ------
    ValueError
        When there are words of a cause or an action that does not exist. One without Chinese words keeps the English.
    """
    document = chinese if isinstance(chinese, Mapping) else {}
    told = {what: document.get(what) or {} for what in ("causes", "actions")}
    for what, expected in (("causes", causes), ("actions", actions)):
        if strangers := sorted(told[what].keys() - expected.keys()):
            raise ValueError(f"{where}: {what}: expected those of models/causes; there is no {', '.join(strangers)}")
    chinese_causes, chinese_actions = told["causes"], told["actions"]
    titles = {name: str(chinese_causes.get(name, {}).get("title", title)) for name, (title, _) in causes.items()}
    fixes = {name: str(chinese_causes.get(name, {}).get("fix", fix)) for name, (_, fix) in causes.items()}
    return Words(
        signals,
        {name: {Language.EN: title, Language.ZH: titles[name]} for name, (title, _) in causes.items()},
        {name: {Language.EN: fix, Language.ZH: fixes[name]} for name, (_, fix) in causes.items()},
        {
            name: {Language.EN: text, Language.ZH: str(chinese_actions.get(name, text))}
            for name, text in actions.items()
        },
    )
