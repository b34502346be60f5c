"""An argparse parser whose errors are short: what was meant, or what there is, within the width of a terminal."""

import argparse
import re
import sys
from difflib import get_close_matches
from shutil import get_terminal_size
from textwrap import fill
from typing import NoReturn

_CHOICE = re.compile(r"argument (?P<what>\S+): invalid choice: '(?P<got>.*)' \(choose from (?P<known>.*)\)")


class Parser(argparse.ArgumentParser):
    """Sub-parsers are of the same class."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and what is wrong, and exit with 2."""
        self.print_usage(sys.stderr)
        if (found := _CHOICE.fullmatch(message)) is not None:
            known = [name.strip("'") for name in found["known"].split(", ")]
            near = get_close_matches(found["got"], known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"expected {', '.join(known)}"
            message = f"{found['what']}: there is no '{found['got']}'; {hint}"
        self.exit(2, fill(f"{self.prog}: {message}", get_terminal_size().columns - 1, break_on_hyphens=False) + "\n")
