"""AIOps daemon for LLM-serving fleets. The folder list is the design: see ``docs/architecture.md``."""

__version__ = "0.1.0"
