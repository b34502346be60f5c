"""Configuration of the explain room: in which language, and whether a language model may word anything."""

from aiops.explain.words import Language
from aiops.kit.settings import Section


class ExplainSettings(Section):
    """From diagnoses to words."""

    language: Language = Language.EN
    """Language of summaries: ``en`` or ``zh``. Texts of rules, labels and alerts stay as they are."""
