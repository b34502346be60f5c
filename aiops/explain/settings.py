"""Configuration of the explain room: in which language, and whether a language model may word anything."""

from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator
from yarl import URL

from aiops.explain.words import Language
from aiops.kit.http_settings import HttpClientSettings
from aiops.kit.settings import Duration, Section


class ResponseFormat(StrEnum):
    """How the form of the answer is asked for."""

    JSON_SCHEMA = "json_schema"
    JSON_OBJECT = "json_object"
    NONE = "none"


class LlmSettings(Section):
    """A language model that words diagnoses, behind an OpenAI-compatible endpoint (vLLM, SGLang, llama.cpp, Ollama,
    LiteLLM, OpenAI, Azure's and Anthropic's compatible ones). Off without a URL."""

    url: str = ""
    """Base URL up to and with the version, such as ``http://llm:8000/v1``; ``/chat/completions`` is appended. Empty:
    no model is ever asked."""
    model: str = ""
    """Name of the model, as the endpoint calls it."""
    client: HttpClientSettings = HttpClientSettings()
    """Credentials and TLS. The key is a bearer token: ``authorization: {credentials_file: /path/to/key}``."""
    response_format: ResponseFormat = ResponseFormat.JSON_SCHEMA
    """``json_schema`` holds the model to the form; ``json_object`` and ``none`` are for endpoints that refuse it."""
    body: dict[str, str | int | float | bool | None] = Field(default_factory=dict)
    """More fields of the request, or other values; null leaves a field out. Models of OpenAI that think want
    ``{max_tokens: null, max_completion_tokens: 4000, temperature: null}``."""
    timeout: Duration = Field(30.0, gt=0)
    """Longest time of one call, seconds; a small model on a CPU needs this much for 300 tokens."""
    deadline: Duration = Field(90.0, gt=0)
    """Longest time for one incident, with all tries, seconds. The summary by templates never waits for it."""
    attempts: int = Field(2, ge=1, le=5)
    """Most calls for one incident. Only failures that may pass (429, 5xx, no answer) are tried again, and only while
    repeats are fewer than a tenth of all calls, after the first five."""
    max_tokens: int = Field(1200, ge=100)
    """Most tokens of an answer."""
    tokens_per_day: int = Field(200_000, ge=0)
    """Most tokens a day (UTC), in and out; 0 is no limit. Counted since the start of the daemon."""
    cost_per_day: float = Field(1.0, ge=0)
    """Most money a day (UTC), in USD; 0 is no limit. Needs the two prices."""
    price_in: float = Field(0.0, ge=0)
    """USD per million tokens of the prompt; 0 where the model is your own."""
    price_out: float = Field(0.0, ge=0)
    """USD per million tokens of the answer."""
    settle: Duration = Field(30.0, ge=0)
    """An incident is worded so long after its last change, seconds: a storm is told once, when it has gathered."""
    repeat_after: Duration = Field(600.0, ge=0)
    """The same incident, or another with the same causes and alerts, is not worded again within this, seconds."""
    queue_capacity: int = Field(32, ge=1)
    """Most incidents that wait; beyond it the oldest is dropped and counted."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.url:
            return self
        try:
            url = URL(self.url)
        except ValueError:
            raise ValueError("url is not a URL; expected http://host:port/v1") from None
        if url.scheme not in ("http", "https") or not url.host or url.query_string or url.fragment or url.user:
            raise ValueError("url is not a base URL; expected http://host:port/v1 without credentials and query")
        if not self.model:
            raise ValueError("model is missing; expected the name under which the endpoint serves it")
        return self


class ExplainSettings(Section):
    """From diagnoses to words."""

    language: Language = Language.EN
    """Language of summaries: ``en`` or ``zh``. Texts of rules, labels and alerts stay as they are."""
    llm: LlmSettings = LlmSettings()
    """A language model whose text stands beside the summary, marked, as far as it can be checked."""
    runbooks: tuple[Path, ...] = ()
    """Folders of your own runbooks (Markdown). Answers search them with the shipped ones, yours first; a line ``Causes:
    a, b`` or ``Rules: A, B`` says what a page is about. They are looked at again every minute."""
