"""Completion scripts: words after words, generated from the grammar, so they never lag behind it."""

import argparse

from aiops.app.grammar import leaves, options

# Also for zsh, which slices arrays in another way, and where `path` and `words` are its own variables.
_BASH = """\
_aiops() {{
  local line="" candidates="" at
  for (( at = 1; at < COMP_CWORD; at++ )); do
    [[ "${{COMP_WORDS[at]}}" == -* ]] || line="$line ${{COMP_WORDS[at]}}"
  done
  case "${{line# }}" in
{cases}
  esac
  COMPREPLY=($(compgen -W "$candidates" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _aiops aiops
"""


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """Script for ``bash``, ``zsh`` (through its bash mode) or ``fish``."""
    words = {path: _candidates(inner) for path, inner in leaves(parser)}
    if shell == "fish":
        return "".join(_fish(path, candidates) for path, candidates in words.items())
    # The longest command first: 'check config' would else be caught by 'check'.
    ordered = sorted(words.items(), key=lambda item: -len(item[0]))
    cases = "\n".join(
        f'    "{" ".join(path)}"{"*" if path else ""}) candidates="{" ".join(found)}" ;;' for path, found in ordered
    )
    prefix = "autoload -Uz bashcompinit && bashcompinit\n" if shell == "zsh" else ""
    return prefix + _BASH.format(cases=cases)


def _candidates(parser: argparse.ArgumentParser) -> list[str]:
    found = [name for action in options(parser) for name in action.option_strings]
    for action in parser._actions:  # noqa: SLF001 - argparse has no public way to list them
        found += [str(choice) for choice in action.choices or () if not action.option_strings]
    return found


def _fish(path: tuple[str, ...], candidates: list[str]) -> str:
    seen = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in path) or "__fish_use_subcommand"
    files = "" if any(name.startswith("-") for name in candidates) else " -f"  # a command is no file
    return f"complete -c aiops -n '{seen}'{files} -a '{' '.join(candidates)}'\n"
