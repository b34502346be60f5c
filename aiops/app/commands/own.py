"""Commands about the program itself: version, generated files, completion."""

import platform
from argparse import Namespace
from pathlib import Path

from aiops import __version__
from aiops.app.output import Column, CommandFailedError, Exit, Output, say, show, write


def version(args: Namespace) -> int:
    """``aiops version``."""
    data = {"version": __version__, "python": platform.python_version(), "platform": platform.machine()}
    if args.output is Output.TABLE:
        write(f"aiops {__version__} (python {data['python']}, {data['platform']})\n")
    else:
        show(
            data, [Column(key.upper()) for key in data], [list(data.values())], output=args.output, headers=args.headers
        )
    return Exit.OK


def render(args: Namespace) -> int:
    """``aiops render [--check]``."""
    from aiops.app.generated import FILES  # noqa: PLC0415 - `version` needs none of it

    root: Path = args.root or Path(__file__).resolve().parents[3]
    if not (root / "pyproject.toml").is_file():
        raise CommandFailedError(f"{root} is no checkout of aiops; expected a folder with pyproject.toml (--root)")
    stale = [name for name, make in FILES.items() if _content(root / name) != make()]
    for name in stale:
        if args.check:
            say(f"{name} is not what 'aiops render' writes; run it and commit the result")
            continue
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(FILES[name](), encoding="utf-8")
        say(f"wrote {name}")
    return Exit.FAILED if stale and args.check else Exit.OK


def completion(args: Namespace) -> int:
    """``aiops completion bash|zsh|fish``."""
    from aiops.app.cli import build_parser  # noqa: PLC0415 - the parser imports commands, not the other way round
    from aiops.app.completion import script  # noqa: PLC0415 - `version` needs none of it

    write(script(args.shell, build_parser()))
    return Exit.OK


def _content(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None
