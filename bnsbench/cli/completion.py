"""Completion of commands, options and names of components in the shell, by typer's scripts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import typer
from typer.completion import get_completion_inspect_parameters, install_callback, show_callback

from bnsbench.errors import BnsbenchError, UsageError

PROGRAM = "bnsbench"
OPTIONS = ("--install-completion", "--show-completion")


class Shell(StrEnum):
    """The shells of which typer knows the scripts."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"
    powershell = "powershell"
    pwsh = "pwsh"


InstallCompletion = Annotated[
    Shell | None,
    typer.Option(
        OPTIONS[0],
        metavar="[SHELL]",
        callback=install_callback,
        is_eager=True,
        help=f"Let the tab key complete words from now on, in this shell or the one named: {', '.join(Shell)}.",
    ),
]
ShowCompletion = Annotated[
    Shell | None,
    typer.Option(
        OPTIONS[1], metavar="[SHELL]", callback=show_callback, is_eager=True, help="Print the script that does so."
    ),
]


def prepare_completion() -> None:
    """Make typer's side of its scripts known, if it is a shell that calls."""
    if f"_{PROGRAM.upper()}_COMPLETE" in os.environ:
        get_completion_inspect_parameters()


def with_shell(words: Sequence[str]) -> list[str]:
    """Return the words of a command line; where they end with an option of completion, followed by the shell in use."""
    return [*words, _shell_in_use()] if words and words[-1] in OPTIONS else list(words)


def complete_models(incomplete: str) -> list[str]:
    """Return the models whose names go on like the last of a list of names."""
    return _completed(incomplete, ("models",))


def complete_solvers(incomplete: str) -> list[str]:
    """Return the solvers whose names go on like the last of a list of names."""
    return _completed(incomplete, ("solvers",))


def complete_metrics(incomplete: str) -> list[str]:
    """Return the metrics whose names go on like the last of a list of names."""
    return _completed(incomplete, ("metrics",))


def complete_components(incomplete: str) -> list[str]:
    """Return the solvers, models and metrics whose names begin so."""
    return _completed(incomplete, ("solvers", "models", "metrics"))


def _completed(incomplete: str, kinds: Sequence[str]) -> list[str]:
    """Return the names of these kinds that complete the last of several names, separated by commas, after the others."""
    from bnsbench.contract import PluginHost

    try:
        host = PluginHost.load()  # a key that is pressed runs no file of the folder where one is
    except BnsbenchError:
        return []
    before, comma, last = incomplete.rpartition(",")
    names = [record.name for kind in kinds for record in getattr(host, kind)]
    return [f"{before}{comma}{name}" for name in names if name.startswith(last)]


def _shell_in_use() -> str:
    import shellingham  # typer brings it

    try:
        return str(shellingham.detect_shell()[0])
    except shellingham.ShellDetectionFailure:
        known = ", ".join(Shell)
        raise UsageError(f"The shell in use cannot be told: name one, such as {OPTIONS[1]} bash ({known}).") from None
