"""Files of the checkout that are written by a program: one line each, so that drift can be checked in one place."""

import json
from collections.abc import Callable

from aiops.app.cli import build_parser
from aiops.app.config import Config, json_schema
from aiops.app.config_lint import CODES
from aiops.app.grammar import commands
from aiops.render.reference import commands_page, configuration_page, markdown_table, signals_page
from aiops.signals.catalog import SIGNALS

_CONFIGURATION = """\
Works without a file. A file is YAML; `aiops check config FILE` lists everything wrong with it, with lines and
suggestions. Precedence: flag, then environment variable, then file, then default; `aiops check config FILE --print`
shows what is in effect and where each value came from.

* Variables: `AIOPS_` and the keys joined by two underscores, `AIOPS_LOG__LEVEL=debug`. Lists and mappings are written
  as YAML or JSON: `AIOPS_NOTIFY__EXTERNAL_LABELS='{cluster: prod}'`. An empty variable counts as not set.
* `${NAME}` in any text of the file is replaced by an environment variable, `${NAME:-default}` by the default when it is
  not set, `$$` by one `$`. `$1` and `${1}` stay, for relabelling.
* Durations are written `250ms`, `5s`, `1h30m` or as seconds; sizes `512KiB`, `16MiB`, `1GB` or as bytes.
* A relative path in the file starts at the folder of the file; in a variable or flag, where the daemon starts.
* Secrets stand in a file of their own (`…_file`) or come from `${NAME}`. They are printed nowhere.
* A repeated or unknown key is an error. `no`, `on` and `1:30` are text, as in YAML 1.2.
"""
_COMMANDS = """\
Data goes to stdout, messages to stderr. Exit codes: 0 done, 1 failed, 2 misused, 3 valid but unwise (`--lint`).
Tables fit the terminal; `-o wide`, a pipe, `-o json` and `-o yaml` cut nothing. `NO_COLOR` turns colours off.
"""


def configuration() -> str:
    """``docs/reference/configuration.md``."""
    page = configuration_page(json_schema(), Config().model_dump(mode="json", by_alias=True), _CONFIGURATION)
    codes = markdown_table(("code", "finding"), [(f"`{code}`", text) for code, text in CODES.items()])
    return f"{page}\n## Lint\n\n`aiops check config --lint` exits with 3 on these.\n\n{codes}"


def command_line() -> str:
    """``docs/reference/cli.md``."""
    return commands_page(commands(build_parser()), _COMMANDS)


FILES: dict[str, Callable[[], str]] = {
    "docs/reference/configuration.md": configuration,
    "docs/reference/cli.md": command_line,
    "docs/reference/config.schema.json": lambda: json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n",
    "docs/reference/signals.md": lambda: signals_page(SIGNALS.values()),
}
