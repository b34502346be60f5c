"""The command line: what can be said. What is then done lives in :mod:`aiops.app.commands`, imported on demand.

Flags are named after Prometheus where it has a name for the thing. Nothing heavy is imported here: a health check
runs every few seconds in a container and should cost a container nothing.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from aiops import __version__
from aiops.app.flag_types import (
    count,
    duration,
    form,
    not_negative,
    positive,
    share,
    share_or_one,
    whole,
)
from aiops.app.output import CommandFailedError, Exit, Output, say
from aiops.app.parser import Parser
from aiops.kit.memory import limit_threads


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 misused (by way of SystemExit), 3 lint."""
    args = build_parser().parse_args(argv)
    limit_threads()
    module, _, function = args.does.partition(":")
    try:
        code = int(getattr(import_module(f"aiops.app.commands.{module}"), function)(args))
        sys.stdout.flush()
    except CommandFailedError as error:
        say(f"aiops: {error}")
        return Exit.FAILED
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (head, less) had enough. Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    return code


def build_parser() -> argparse.ArgumentParser:
    """The whole grammar; also the source of the reference page and of the completion scripts."""
    parser: argparse.ArgumentParser = Parser(
        prog="aiops", description="AIOps daemon for LLM-serving fleets.", allow_abbrev=False
    )
    parser.add_argument(
        "--version", action="version", version=f"aiops {__version__}", help="print the version and exit"
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _daemon_commands(commands)
    _check_commands(commands)
    _client_commands(commands)
    _question_commands(commands)
    _assistant_commands(commands)
    _feedback_commands(commands)
    _maintenance_commands(commands)
    _metrics_commands(commands)
    _plan_commands(commands)
    _estimate_commands(commands)
    _score_commands(commands)
    _backtest_commands(commands)
    _rca_commands(commands)
    _report_commands(commands)
    _incident_commands(commands)
    _state_commands(commands)
    _dashboard_commands(commands)
    _own_commands(commands)
    return parser


_Commands = argparse._SubParsersAction  # noqa: SLF001 - argparse has no public name for it


def _command(
    commands: "_Commands[argparse.ArgumentParser]", name: str, does: str, purpose: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=purpose, description=purpose, allow_abbrev=False)
    if does:
        parser.set_defaults(does=does)
    return parser


def _daemon_commands(commands: "_Commands[argparse.ArgumentParser]") -> None:
    run = _command(commands, "run", "daemon:run", "Run the daemon.")
    _config_flags(run)
    demo = _command(
        commands, "demo", "daemon:demo", "Show a simulated fleet with three faults, and what the daemon makes of them."
    )
    demo.add_argument("--web.listen-address", dest="listen_address", default="", metavar="ADDRESS",
                      help="where the demo's web page listens (default 127.0.0.1:9797, or a free port)")  # fmt: skip
    demo.add_argument("--seed", type=int, default=1, metavar="N", help="the same number gives the same demo")
    demo.add_argument("--for", dest="serve_seconds", type=float, default=600.0, metavar="SECONDS",
                      help="go on serving after the last incident (default 600); 0 ends with it")  # fmt: skip


def _check_commands(commands: "_Commands[argparse.ArgumentParser]") -> None:
    check = _command(commands, "check", "", "Check files before the daemon uses them.")
    kinds = check.add_subparsers(title="what to check", metavar="WHAT", required=True)
    config = _command(kinds, "config", "check:config", "Check a configuration; list everything wrong with it.")
    config.add_argument("file", nargs="?", metavar="FILE", type=Path, help="configuration file; as --config.file")
    config.add_argument("--lint", action="store_true", help="exit with 3 when a setting is valid but unwise")
    config.add_argument(
        "--print", action="store_true", help="print the configuration in effect, with origins, without secrets"
    )
    config.add_argument("--schema", action="store_true", help="print the JSON Schema of the file, for editors")
    _config_flags(config)
    web = _command(kinds, "web-config", "check:web_config", "Check the file of web.config_file: TLS, users, headers.")
    web.add_argument("file", metavar="FILE", type=Path, help="web configuration, as Prometheus has it")
    pods = _command(
        kinds, "pod-resources", "check:pod_resources", "Ask the kubelet of this node which pod has which GPU."
    )
    _config_flags(pods)
    model = _command(kinds, "model", "files:model", "Hold the files of a model against a manifest.")
    model.add_argument("directory", metavar="FOLDER", type=Path, help="folder of the model's files")
    what = model.add_mutually_exclusive_group(required=True)
    what.add_argument("--manifest", metavar="FILE", type=Path, help="JSON, YAML or the output of sha256sum")
    what.add_argument("--write-manifest", metavar="FILE", type=Path, help="describe the files as they are now")
    model.add_argument(
        "--rate", metavar="SIZE", default="0", help="most bytes read per second, such as 64MiB; default: no limit"
    )


_LISTS = {
    "targets": "List what the daemon watches and whether it answers.",
    "alerts": "List alerts that are pending or firing.",
    "incidents": "List incidents and how many alerts each holds.",
    "slo": "List error budgets: what is left of them, and how fast they burn.",
}


def _client_commands(commands: "_Commands[argparse.ArgumentParser]") -> None:
    get = _command(commands, "get", "", "The lists by the word that kubectl has for them.")
    for place in (commands, get.add_subparsers(title="what to list", metavar="WHAT", required=True)):
        for name, purpose in _LISTS.items():
            parser = _command(place, name, f"client:{name}", purpose)
            _url_flags(parser)
            _output_flags(parser)
            _watch_flags(parser, 2.0)
    _top_command(commands)
    describe = _command(commands, "describe", "", "Explain one thing.")
    kinds = describe.add_subparsers(title="what to explain", metavar="WHAT", required=True)
    alert = _command(kinds, "alert", "describe:alert", "Say why an alert fired, or why it does not fire.")
    alert.add_argument("name", metavar="FINGERPRINT|RULE", help="as in 'aiops alerts -o wide', or the name of a rule")
    alert.add_argument("entity", nargs="?", default="", metavar="ENTITY",
                       help="with a rule: part of the entity as text, such as pool or 10.0.0.7:8000")  # fmt: skip
    _url_flags(alert)
    _output_flags(alert)
    _advice_commands(commands)
    health = _command(
        commands, "healthcheck", "client:healthcheck", "Ask the daemon whether it is healthy; exit 1 when not."
    )
    _url_flags(health)
    health.add_argument("--ready", action="store_true", help="ask whether it can serve, not only whether it lives")


def _top_command(commands: "_Commands[argparse.ArgumentParser]") -> None:
    top = _command(commands, "top", "top:top", "Show pools, replicas, GPUs and open incidents on one live screen.")
    _url_flags(top)
    top.add_argument("--once", action="store_true", help="print one screen and exit; needs no terminal")
    top.add_argument("--interval", metavar="SECONDS", type=positive, default=2.0, help="time between two looks")
    top.add_argument("--ascii", action="store_true", help="only ASCII characters")
    top.add_argument("--light", action="store_true", help="colours for a light background; NO_COLOR: none at all")


def _question_commands(commands: "_Commands[argparse.ArgumentParser]") -> None:
    ask = _command(
        commands, "ask", "ask:ask", "Ask the daemon in English or Chinese; the answer cites what it is from."
    )
    ask.add_argument("question", nargs="+", metavar="WORD", help='such as "why was TTFT high at 14:00?"; times are UTC')
    _url_flags(ask)
    _output_flags(ask)


def _assistant_commands(commands: "_Commands[argparse.ArgumentParser]") -> None:
    mcp = _command(
        commands, "mcp", "mcp:serve", "Serve the daemon's answers to an assistant (Model Context Protocol, stdio)."
    )
    _url_flags(mcp)


def _feedback_commands(commands: "_Commands[argparse.ArgumentParser]") -> None:
    feedback = _command(commands, "feedback", "", "Say what alerts were; what follows from it can be taken back.")
    kinds = feedback.add_subparsers(title="what to say", metavar="WHAT", required=True)
    for name, purpose in (
        ("true", "It was right: something was wrong."),
        ("false", "It was a false alarm: a statistical threshold widens, within a bound."),
        ("expected", "It was expected: planned, or known to happen at this time of the day."),
    ):
        parser = _command(kinds, name, "feedback:say", purpose)
        parser.set_defaults(judgement=name)
        parser.add_argument("about", metavar="ALERT|INCIDENT", help="fingerprint of an alert, or id of an incident")
        parser.add_argument("--cause", default="", metavar="TEXT", help="what it really was")
        parser.add_argument("--note", default="", metavar="TEXT", help="anything else worth keeping")
        _url_flags(parser)
        _output_flags(parser)
    listing = _command(kinds, "list", "feedback:listing", "List what was said, and what followed from it.")
    undo = _command(kinds, "undo", "feedback:undo", "Take one back.")
    undo.add_argument("id", metavar="ID", help="as in 'aiops feedback list'")
    for parser in (listing, undo):
        _url_flags(parser)
        _output_flags(parser)


def _maintenance_commands(commands: "_Commands[argparse.ArgumentParser]") -> None:
    maintenance = _command(commands, "maintenance", "", "Plan windows in which alerts wait or nothing is learnt.")
    kinds = maintenance.add_subparsers(title="what to do", metavar="WHAT", required=True)
    listing = _command(kinds, "list", "maintenance:listing", "List windows that are on or will come.")
    begin = _command(kinds, "begin", "maintenance:begin", "Open a window of one time.")
    begin.add_argument("name", metavar="NAME", help="what people read beside a muted alert")
    begin.add_argument("--for", dest="lasts", type=duration, required=True, metavar="DURATION", help="how long")
    begin.add_argument("--at", metavar="TIME", help="when it begins, ISO 8601 with a zone; default: now")
    begin.add_argument("--skip", action="append", choices=("alert", "learning"), metavar="alert|learning",
                       help="what it leaves out; repeatable; default: both")  # fmt: skip
    end = _command(kinds, "end", "maintenance:end", "End a window of one time.")
    end.add_argument("id", metavar="ID", help="as in 'aiops maintenance list'")
    mark = _command(commands, "mark", "maintenance:mark", "Say that something was deployed: levels are learnt anew.")
    mark.add_argument("text", metavar="TEXT", help="what changed, such as 'chat 1.4 became 1.5'")
    for parser in (begin, mark):
        parser.add_argument("--match", action="append", default=[], metavar="LABEL=VALUE",
                            help="whom it is about; * and ? as in file names; repeatable, all must fit")  # fmt: skip
    for parser in (listing, begin, end, mark):
        _url_flags(parser)
        _output_flags(parser)


def _advice_commands(commands: "_Commands[argparse.ArgumentParser]") -> None:
    for name, purpose in (
        ("recommend", "Say how many replicas each pool should have, with what chance, and why; exit 1 without advice."),
        ("waste", "Say which replicas were paid for and not needed."),
    ):
        parser = _command(commands, name, f"recommend:{name}", purpose)
        parser.add_argument("pool", nargs="?", metavar="POOL", help="only this pool, as POOL or POOL/MODEL")
        _url_flags(parser)
        _output_flags(parser)
        if name == "recommend":
            _watch_flags(parser, 30.0)


def _metrics_commands(commands: "_Commands[argparse.ArgumentParser]") -> None:
    metrics = _command(commands, "metrics", "", "Look at metrics pages.")
    kinds = metrics.add_subparsers(title="what to do", metavar="WHAT", required=True)
    doctor = _command(
        kinds, "doctor", "doctor:doctor", "Say which signals a metrics page gives, and what its gaps cost."
    )
    doctor.add_argument("page", metavar="URL|FILE", help="metrics page to look at; '-' reads stdin")
    doctor.add_argument("--again", metavar="FILE", help="the same page some time later; needed to judge rates")
    doctor.add_argument("--interval", metavar="SECONDS", type=positive, default=None,
                        help="time between the two; without --again, a URL is fetched twice")  # fmt: skip
    doctor.add_argument("--timeout", metavar="SECONDS", type=positive, default=10.0, help="longest wait for a URL")
    _output_flags(doctor)


def _plan_commands(commands: "_Commands[argparse.ArgumentParser]") -> None:
    plan = _command(commands, "plan", "plan:plan", "Say how many servers a recorded load needs, and how sure that is.")
    add = plan.add_argument
    add("--trace", type=Path, required=True, metavar="FILE",
        help="CSV with arrival_seconds,service_seconds or arrival_seconds,input_tokens,output_tokens")  # fmt: skip
    add("--servers", type=count, nargs="+", required=True, metavar="C", help="numbers of servers or replicas to judge")
    add("--wait-slo", type=positive, required=True, metavar="SECONDS", help="longest wait that is good enough")
    add("--target", type=share, default=0.95, metavar="P", help="share of requests that must meet it")
    add("--profile", type=Path, metavar="FILE",
        help="YAML of an engine, for tokens: step_seconds [[n, s]], prefill_seconds_per_token, slots")  # fmt: skip
    add("--scrape-interval", type=not_negative, default=15.0, metavar="SECONDS",
        help="see the trace only as scrapes this far apart would; 0 sees every request")  # fmt: skip
    add("--seed", type=int, default=1, metavar="N", help="the same number gives the same answer")
    _output_flags(plan)


def _estimate_commands(commands: "_Commands[argparse.ArgumentParser]") -> None:
    estimate = _command(
        commands, "estimate", "estimate:estimate", "Say what memory, CPU and disk a fleet will need; asks nothing."
    )
    add = estimate.add_argument
    add("--replicas", type=whole, required=True, metavar="N", help="replicas, each with a metrics page")
    add("--gpus", type=whole, default=0, metavar="N", help="GPUs whose driver is read (default 0)")
    add("--series-per-replica", type=whole, default=74, metavar="N", help="default 74: vLLM with one engine")
    add("--series-per-gpu", type=whole, default=35, metavar="N", help="default 35: all that the driver tells")
    add("--samples-per-page", type=whole, default=455, metavar="N", help="default 455: vLLM with one engine")
    add("--interval", type=duration, default=5.0, metavar="DURATION", help="between turns and scrapes (default 5s)")
    add("--window", type=duration, default=3600.0, metavar="DURATION", help="store.window (default 1h)")
    _output_flags(estimate)


def _score_commands(commands: "_Commands[argparse.ArgumentParser]") -> None:
    score = _command(
        commands, "score", "score:score", "Score recordings row by row, as the rows came; 1.0 is the alert threshold."
    )
    add = score.add_argument
    add("files", nargs="+", type=Path, metavar="FILE",
        help="CSV, plain or gzip: timestamp (ISO 8601 or seconds),value[,value…]; no matter if labelled")  # fmt: skip
    add("--out", type=Path, required=True, metavar="DIR", help="where FILE's scores go, as timestamp,score")
    add("--interval", type=positive, default=None, metavar="SECONDS",
        help="time between rows; default: as between the first rows")  # fmt: skip
    add("--budget", type=positive, default=1.0, metavar="P", help="false alerts per series and week at 1.0")
    add("--jobs", type=count, default=1, metavar="N", help="files scored at the same time")
    add("--votes", action="store_true", help="one more column per detector")


def _backtest_commands(commands: "_Commands[argparse.ArgumentParser]") -> None:
    backtest = _command(
        commands, "backtest", "backtest:backtest", "Say what the daemon would have alerted about in a recorded past."
    )
    add = backtest.add_argument
    _past_flags(backtest, 7)
    add("--step", type=duration, default=None, metavar="DURATION",
        help="time between points; default 30s, or as between the first rows of a file")  # fmt: skip
    add("--config.file", "--config", dest="config_file", type=Path, metavar="FILE", help="configuration to judge")
    add("--against", type=Path, metavar="FILE", help="second configuration, shown beside it")
    add("--no-fits", dest="fits", action="store_false", help="leave ARIMA and isolation forests out: much faster")
    add("--incidents", type=Path, metavar="FILE", help="YAML or CSV of what happened: start, end, perhaps labels")
    add("--grace", type=duration, default=120.0, metavar="DURATION",
        help="how much too early or too late an alert may be (default 2m)")  # fmt: skip
    add("--severity", choices=("info", "warning", "critical"), default="warning", metavar="info|warning|critical",
        help="least severe alerts that count as told (default warning)")  # fmt: skip
    add("--max-alerts-per-week", type=float, metavar="N", help="exit 1 above it")
    add("--min-precision", type=share_or_one, metavar="P", help="exit 1 under it; needs --incidents")
    add("--min-recall", type=share_or_one, metavar="R", help="exit 1 under it; needs --incidents")
    _engine_flags(backtest)
    _output_flags(backtest)
    fit = _command(
        commands, "fit", "fit:fit", "Learn from a recorded past and fit models, so that a daemon starts knowing them."
    )
    _past_flags(fit, 1)
    fit.add_argument("--config.file", "--config", dest="config_file", type=Path, metavar="FILE",
                     help="configuration of the daemon; else AIOPS_CONFIG_FILE, else only defaults")  # fmt: skip
    fit.add_argument("--storage.path", dest="storage_path", metavar="FOLDER", help="store.directory: where it goes")
    fit.add_argument("--replace", action="store_true", help="put it in the place of what a daemon has learnt there")
    _engine_flags(fit)
    _output_flags(fit)


def _past_flags(parser: argparse.ArgumentParser, days: int) -> None:
    """Where a past is read from, and how much of it."""
    add = parser.add_argument
    past = parser.add_mutually_exclusive_group(required=True)
    past.add_argument("--prometheus", metavar="URL", help="what Prometheus has of its targets")
    past.add_argument("--csv", nargs="+", type=Path, metavar="FILE",
        help="files timestamp,SIGNAL[,SIGNAL…], one replica each; SIGNAL is queue_len, ttft:p95, …")  # fmt: skip
    add("--label", action="append", default=[], metavar="NAME=VALUE",
        help="with --csv: another label of the replicas, such as job=vllm; repeatable")  # fmt: skip
    add("--selector", metavar="MATCHERS", default="{}", help='with --prometheus: which targets, such as {job="vllm"}')
    add("--query", action="append", default=[], metavar="SIGNAL=PROMQL",
        help="with --prometheus: take this series instead of whole pages; repeatable")  # fmt: skip
    add("--range", type=duration, default=days * 86_400.0, metavar="DURATION",
        help=f"with --prometheus: how far back (default {days}d)")  # fmt: skip
    add("--end", metavar="TIME", help="with --prometheus: until when, epoch seconds or ISO 8601; default: now")
    add("--timeout", type=duration, default=600.0, metavar="DURATION", help="longest wait for all of Prometheus")


def _engine_flags(parser: argparse.ArgumentParser) -> None:
    """Who fits models."""
    parser.add_argument("--engine", choices=("processes", "ray"), default="processes", metavar="processes|ray",
                        help="who fits models: processes here, or the Ray cluster of RAY_ADDRESS")  # fmt: skip
    parser.add_argument("--jobs", type=count, default=None, metavar="N",
                        help="processes that fit at the same time; default: one per core")  # fmt: skip


def _rca_commands(commands: "_Commands[argparse.ArgumentParser]") -> None:
    rca = _command(commands, "rca", "", "Root causes of recorded cases.")
    kinds = rca.add_subparsers(title="what to do", metavar="WHAT", required=True)
    replay = _command(kinds, "replay", "rca:replay", "Rank the root causes of recorded cases; needs no daemon.")
    add = replay.add_argument
    add("cases", nargs="+", type=Path, metavar="DIR",
        help="a case (metrics.csv, case.json, perhaps topology.csv), or a folder of cases")  # fmt: skip
    add("--score", action="store_true",
        help="hold the answers against truth.json, beside chance and two simple rankers")  # fmt: skip
    add("-o", "--output", choices=("table", "json", "jsonl"), default="table", help="form of the data")
    add("--no-headers", dest="headers", action="store_false", help="print tables without column names")


def _report_commands(commands: "_Commands[argparse.ArgumentParser]") -> None:
    report = _command(
        commands,
        "report",
        "report:report",
        "Write the weekly review: incidents, budgets, replicas, GPUs, false alarms.",
    )
    add = report.add_argument
    add("--since", type=duration, default=7 * 86_400.0, metavar="DURATION", help="how far back (default 7d)")
    add("-o", "--output", choices=("html", "md"), default=None,
        help="form (default html: one file, prints to PDF; at a terminal md)")  # fmt: skip
    add("--out", type=Path, default=None, metavar="FILE", help="where to; default: standard output")
    add("--config.file", "--config", dest="config_file", type=Path, metavar="FILE", help="configuration of the daemon")
    add("--storage.path", dest="storage_path", metavar="FOLDER", help="store.directory: where its archive is")


def _incident_commands(commands: "_Commands[argparse.ArgumentParser]") -> None:
    incident = _command(commands, "incident", "", "One incident of the daemon.")
    kinds = incident.add_subparsers(title="what to do", metavar="WHAT", required=True)
    show = _command(kinds, "show", "incident:show_incident", "Tell an incident: what, why, and the evidence.")
    export = _command(
        kinds, "export", "incident:export", "Write the numbers behind an incident as a case for 'aiops rca replay'."
    )
    for parser in (show, export):
        parser.add_argument("id", metavar="ID", help="as in 'aiops incidents'")
        _url_flags(parser)
    _output_flags(show)
    export.add_argument("folder", metavar="DIR", type=Path, help="made when it is not there; a case in it stays")


def _state_commands(commands: "_Commands[argparse.ArgumentParser]") -> None:
    state = _command(commands, "state", "", "The state folder of a daemon: its keys, and sealing it with them.")
    kinds = state.add_subparsers(title="what to do", metavar="WHAT", required=True)
    key = _command(kinds, "key", "state:key", "Put a new key first in a key file; the others still open.")
    key.add_argument("file", metavar="FILE", type=Path, help="made with mode 0600 when it is not there")
    for name, purpose in (
        ("seal", "Seal every record of the archive anew, with the first key; the daemon must not run."),
        ("unseal", "Write every record of the archive in plain text; the daemon must not run."),
    ):
        parser = _command(kinds, name, f"state:{name}", purpose)
        add = parser.add_argument
        add("--config.file", "--config", dest="config_file", type=Path, metavar="FILE", help="as of the daemon")
        add("--storage.path", dest="storage_path", metavar="FOLDER", help="store.directory: where its archive is")


def _dashboard_commands(commands: "_Commands[argparse.ArgumentParser]") -> None:
    dashboards = _command(commands, "dashboards", "", "Grafana boards of the fleet, of each engine and of aiops.")
    kinds = dashboards.add_subparsers(title="what to do", metavar="WHAT", required=True)
    export = _command(kinds, "export", "dashboards:export", "Write the boards to a folder.")
    export.add_argument("folder", metavar="FOLDER", type=Path, help="made when it is not there")
    export.add_argument("--configmaps", action="store_true", help="as ConfigMaps for the sidecar of Grafana's chart")
    push = _command(kinds, "push", "dashboards:push", "Hand the boards to a Grafana; replaces those of before.")
    push.add_argument("--url", dest="grafana", metavar="URL", required=True, help="the Grafana")
    push.add_argument("--token-file", metavar="FILE", type=Path, help="token of a service account that may edit boards")
    push.add_argument("--folder", dest="grafana_folder", metavar="UID", default="", help="folder in Grafana")
    push.add_argument("--timeout", metavar="SECONDS", type=positive, default=10.0, help="longest wait for one board")
    for parser in (export, push):
        parser.add_argument("--only", action="append", default=[], metavar="UID", help="only this board; repeatable")
        parser.add_argument("--page-url", default="", metavar="URL", help="link the boards to the page of aiops")


def _own_commands(commands: "_Commands[argparse.ArgumentParser]") -> None:
    version = _command(commands, "version", "own:version", "Print the version.")
    _output_flags(version)
    render = _command(commands, "render", "own:render", "Rewrite the generated files of a checkout.")
    render.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 when a file is not as it would be written"
    )
    render.add_argument(
        "--root", metavar="FOLDER", type=Path, default=None, help="checkout to work on; default: this one"
    )
    completion = _command(commands, "completion", "own:completion", "Print a completion script for a shell.")
    completion.add_argument(
        "shell", choices=("bash", "zsh", "fish"), help="for example: source <(aiops completion bash)"
    )


def _config_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--config.file", "--config", dest="config_file", type=Path, metavar="FILE",
        help="configuration file; else AIOPS_CONFIG_FILE, else only defaults")  # fmt: skip
    add(
        "--target", dest="targets", action="append", default=[], metavar="URL", help="metrics page to watch; repeatable"
    )
    add("--shard", metavar="I/N", help="scrape.shard: read the I-th of N parts of the targets, from 0")
    add("--web.listen-address", dest="listen_address", metavar="ADDRESS", help="web.listen_address")
    add("--web.config.file", dest="web_config_file", type=Path, metavar="FILE", help="web.config_file")
    add("--web.external-url", dest="external_url", metavar="URL", help="web.external_url")
    add(
        "--web.enable-lifecycle",
        dest="enable_lifecycle",
        action="store_true",
        default=None,
        help="web.enable_lifecycle",
    )
    add("--storage.path", dest="storage_path", metavar="FOLDER", help="store.directory")
    add("--log.level", dest="log_level", metavar="LEVEL", help="log.level: debug, info, warn or error")
    add("--log.format", dest="log_format", metavar="FORMAT", help="log.format: logfmt or json")


def _url_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", metavar="URL", help="the daemon; else AIOPS_URL, else http://127.0.0.1:9797")
    parser.add_argument("--timeout", metavar="SECONDS", type=positive, default=5.0, help="longest wait for the daemon")


def _output_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", type=form, choices=tuple(Output), default=Output.TABLE,
                        metavar="table|wide|json|yaml", help="form of the data; wide cuts nothing")  # fmt: skip
    parser.add_argument("--no-headers", dest="headers", action="store_false", help="print tables without column names")


def _watch_flags(parser: argparse.ArgumentParser, seconds: float) -> None:
    parser.add_argument("--watch", action="store_true", help="ask again and again")
    parser.add_argument("--every", metavar="SECONDS", type=positive, default=seconds,
                        help=f"with --watch: time between two questions (default {seconds:g})")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
