"""``aiops fit``: a past and the models of it as the state that a daemon starts from.

The past goes through the pipeline as the daemon would have seen it, and is learnt from as carefully; what it decides is
dropped. Then all models that the past suffices for are fitted at once. What is written is what a daemon writes: its
snapshot, plain arrays. A folder that a daemon uses, or that holds what one learnt, is left alone.
"""

import time
from argparse import Namespace

from aiops.app.assembly import build_pipeline
from aiops.app.backtest import Recorded, lived
from aiops.app.commands.backtest import clock_time, recorded_by
from aiops.app.config import Config
from aiops.app.config_load import ConfigError
from aiops.app.fit_parts import Fits
from aiops.app.fit_parts import fit as fit_due
from aiops.app.fits import missing_libraries
from aiops.app.flags import load_config, sources
from aiops.app.output import Column, CommandFailedError, Exit, say, show
from aiops.app.parts import engine_of
from aiops.app.pipeline import Pipeline
from aiops.app.progress import Progress
from aiops.app.state import learnt, take_lock
from aiops.kit.retry import Temporary
from aiops.store import snapshot


def fit(args: Namespace) -> int:
    """``aiops fit``; exits with 1 when a part of the fits failed, with the others written."""
    if missing := missing_libraries():
        raise CommandFailedError(f"models need the extra aiops[analytics]; not installed: {', '.join(missing)}")
    try:
        config = load_config(sources(args)).config
        lock = take_lock(config.store.directory)
    except (ConfigError, OSError) as error:  # it is in use, or cannot be written
        raise CommandFailedError(str(error)) from None
    with lock:
        path = config.store.snapshot_path
        if path.exists() and not args.replace:
            raise CommandFailedError(f"{path} holds what a daemon has learnt; --replace puts this in its place")
        recorded = recorded_by(args, config, config.interval)
        pipeline = build_pipeline(config)
        with Progress("learning") as progress:
            for at, _ in lived(recorded, pipeline):
                progress.to(recorded.step_of(at), recorded.steps)
        with engine_of(args) as engine, Progress("fitting") as progress:
            fits = fit_due(pipeline, engine, told=progress.to)
        try:
            snapshot.write(path, learnt(pipeline, config, time.time()))
        except Temporary as error:
            raise CommandFailedError(str(error)) from None
    _tell(args, config, recorded, pipeline, fits)
    return Exit.FAILED if fits.problems else Exit.OK


def _tell(args: Namespace, config: Config, recorded: Recorded, pipeline: Pipeline, fits: Fits) -> None:
    for problem in fits.problems:
        say(f"aiops: a fit failed: {problem}")
    share = len(recorded.answers) / (recorded.steps * len(recorded.entities))
    if not fits.models["arima"]:
        say(
            f"aiops: no ARIMA models: they need a value in every second step of {config.interval:g} s within the last "
            f"{config.store.window:g} s; here {share:.0%} of the steps have one"
        )
    models = {detector.name: fits.models[detector.name] for detector in pipeline.bank.fitted()}
    data = {
        "file": str(config.store.snapshot_path),
        "start": clock_time(recorded.answers[0].at),
        "end": clock_time(recorded.answers[-1].at),
        "sources": len(recorded.entities),
        "series": pipeline.ring.series,
        "models": models,
        "failed": fits.problems,
    }
    rows = [["sources", str(len(recorded.entities))], ["series", str(pipeline.ring.series)]]
    rows += [[f"{name} models", str(count)] for name, count in models.items()]
    show(data, [Column("WHAT"), Column("LEARNT")], rows, output=args.output, headers=args.headers)
