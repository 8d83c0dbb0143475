"""The command `mlops`: what a person does by hand."""

from __future__ import annotations

import sys

#: Options of every command; they may stand anywhere on the line.
_GLOBAL_WITH_VALUE = ("--stack", "--profile", "--region")
_GLOBAL_FLAGS = ("--json", "--wide")


def main() -> None:
    """Entry point of the console script."""
    from mlops.cli.app import run

    sys.exit(run(sys.argv[1:]))


def hoist(arguments: list[str]) -> list[str]:
    """Put the global options in front, where the parser wants them: `mlops status --json` is how people write.

    >>> hoist(["status", "--json", "--stack", "a"])
    ['--json', '--stack', 'a', 'status']
    >>> hoist(["predict", "m", "--", "--json"])
    ['predict', 'm', '--', '--json']

    An option at the end without its value is left alone in front, so that the parser names it:

    >>> hoist(["status", "--stack"])
    ['--stack']
    """
    front, rest = [], []
    position = 0
    while position < len(arguments):
        argument = arguments[position]
        if argument == "--":
            rest += arguments[position:]
            break
        if argument in _GLOBAL_FLAGS or argument.startswith(tuple(f"{o}=" for o in _GLOBAL_WITH_VALUE)):
            front.append(argument)
        elif argument in _GLOBAL_WITH_VALUE:
            if position + 1 == len(arguments):
                return [*(flag for flag in front if flag in _GLOBAL_FLAGS), argument]
            front += arguments[position : position + 2]
            position += 1
        else:
            rest.append(argument)
        position += 1
    return front + rest
