"""``aiops check model``: hold the files of a model against their manifest, or write one."""

from argparse import Namespace
from pathlib import Path

from aiops.app.output import Exit, say, write
from aiops.collect.manifest import Pace, read_manifest, verify, write_manifest
from aiops.kit.files import write_atomically
from aiops.kit.settings import format_size, parse_size
from aiops.kit.text import printable


def model(args: Namespace) -> int:
    """``aiops check model DIRECTORY``; damaged files go to stdout, one per line."""
    try:
        pace = Pace(_bytes_per_second(args.rate))
        if args.write_manifest is not None:
            return _write(args.directory, args.write_manifest, pace)
        manifest = read_manifest(args.manifest)
        damaged = 0
        for damage in verify(manifest, args.directory, pace):
            write(f"{printable(str(damage))}\n")
            damaged += 1
    except (OSError, ValueError) as error:
        say(str(error))
        return Exit.FAILED
    summed = sum(1 for file in manifest if file.sha256)
    say(
        f"{args.directory}: {damaged} of {len(manifest)} files differ from {args.manifest}; "
        f"{summed} have a sum, {format_size(pace.bytes_spent)} read"
    )
    return Exit.FAILED if damaged else Exit.OK


def _write(directory: Path, file: Path, pace: Pace) -> int:
    text = write_manifest(directory, pace)
    write_atomically(file, text)
    say(f"{file}: manifest of {directory} written, {format_size(pace.bytes_spent)} read")
    return Exit.OK


def _bytes_per_second(text: str) -> float:
    rate = parse_size(text)
    if not isinstance(rate, int):
        raise TypeError(f"a rate is a size, got {rate!r}")
    return float(rate)
