"""Files of the checkout that are written by a program: one line each, so that drift can be checked in one place."""

import json
from collections.abc import Callable
from pathlib import Path

from aiops.app.api_page import page as api_page
from aiops.app.boards import generated as dashboards
from aiops.app.cause_page import page as cause_page
from aiops.app.chart import generated as chart
from aiops.app.cli import build_parser
from aiops.app.config import Config, json_schema
from aiops.app.config_lint import CODES
from aiops.app.daemon import Daemon
from aiops.app.grammar import commands
from aiops.app.rule_pack import generated as rule_pack
from aiops.app.source import DaemonSource
from aiops.render.reference import GENERATED, commands_page, configuration_page, markdown_table, signals_page
from aiops.signals.catalog import SIGNALS, stats_of
from aiops.signals.telemetry import FamilyKind, exported_name
from aiops.web.own import ROUTES, openapi

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "reference" / "api-examples.json"
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
_METRICS = """\
What `GET /metrics` of the daemon shows, as text 0.0.4 or OpenMetrics 1.0, whichever the scraper asks for. Everything is
gathered anew at each scrape: a target that is gone leaves no series behind, a family without samples is left out, and
an unknown value is left out, never 0. The names may change before 1.0.

Labels, by family:

* `aiops_target_*`: `source` (as in `aiops targets`), `kind` (`scrape`, `nvml`, …), and the labels of what is gone with
  the source: `job`, `instance`, `node`, …
* `aiops_reads*`: `source`.
* `aiops_hub_*`: `source` (name of the server).
* `aiops_alerts`: `state`, `severity`; every combination is there, 0 included.
* `aiops_notif*`: `receiver` (URL without credentials, or name), `kind`.
* `aiops_remote_write_*`: `receiver` (its name, or URL).
* `aiops_slo_*`: `slo`, and the labels of the pool (`pool`, `model_name`); a burn rate has its `window` (`5m` … `3d`).
* `aiops_actuations`: `pool` (as in `aiops recommend`), `outcome`.
* `aiops_explain_sentences`: `result`, `kept` or `dropped` (not shown to be true).
* `aiops_task_crashes`: `task`.
* `aiops_feedback_alerts`: `detector` (`rule` for deterministic rules), `judgement` (`true`, `false`).
* `aiops_detector*`: `detector`.
* `aiops_gpu_pod_info`: `gpu` and `node` as GPUs have them, `pod_namespace`, `pod_name`, `container_name`;
  `mig` of a part.
* `aiops_build_info`: `version`.
* `aiops_anomaly_*`: labels of the entity, `kind`, `signal`, `stat`; `aiops_anomaly_vote` also `detector`. Only series
  that may raise an alert.
* `aiops_signal_*`: labels of the entity (`instance`, `job`, `model_name`, `pool`, `gpu`, `node`, …), `kind` of the
  entity, `stat` of a distribution. `stat="rate"` is observations per second, whatever unit the name carries.

Beside them stand `process_*` and `python_info` of the client library.

"""
_METRICS_OF_SIGNALS = """\

## Signals

The newest value of every series under its canonical name, unless nobody has confirmed it for three ticks. What the
signals mean stands in [signals.md](signals.md).

"""


def configuration() -> str:
    """``docs/reference/configuration.md``."""
    page = configuration_page(json_schema(), Config().model_dump(mode="json", by_alias=True), _CONFIGURATION)
    codes = markdown_table(("code", "finding"), [(f"`{code}`", text) for code, text in CODES.items()])
    return f"{page}\n## Lint\n\n`aiops check config --lint` exits with 3 on these.\n\n{codes}"


def command_line() -> str:
    """``docs/reference/cli.md``."""
    return commands_page(commands(build_parser()), _COMMANDS)


def metrics() -> str:
    """``docs/reference/metrics.md``, asked of a daemon that never starts: families are there before their samples."""
    own = [
        (f"`{family.name}{'_total' if family.kind is FamilyKind.COUNTER else ''}`", family.kind, family.help)
        for family in DaemonSource(Daemon(Config())).families()
    ]
    signals = [
        (f"`{exported_name(signal)}`", f"`{signal.name}`", ", ".join(filter(None, stats_of(signal))))
        for signal in SIGNALS.values()
    ]
    page = f"{GENERATED}# Own metrics\n\n{_METRICS}{markdown_table(('metric', 'type', 'meaning'), own)}"
    return page + _METRICS_OF_SIGNALS + markdown_table(("metric", "signal", "stat"), signals)


def api() -> str:
    """``docs/reference/api.md``; the examples beside it are recorded by ``tests/web/record_api.py``."""
    return api_page(ROUTES, json.loads(EXAMPLES.read_text(encoding="utf-8")))


def _pretty(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


FILES: dict[str, Callable[[], str]] = {
    "docs/reference/configuration.md": configuration,
    "docs/reference/cli.md": command_line,
    "docs/reference/config.schema.json": lambda: _pretty(json_schema()),
    "docs/reference/causes.md": cause_page,
    "docs/reference/signals.md": lambda: signals_page(SIGNALS.values()),
    **rule_pack(),
    **dashboards(),
    **chart(),
    "docs/reference/metrics.md": metrics,
    "docs/reference/api.md": api,
    "docs/reference/openapi.json": lambda: _pretty(openapi()),
}
