"""Completion of commands, options and names of components in the shell, by typer's scripts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Literal

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
        help="Complete words with the tab key from now on, in this shell or the one named: bash, zsh, fish, powershell, pwsh.",
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


def component_names(kind: Literal["models", "solvers", "metrics"], begin: str) -> list[str]:
    """Return the names of components of a kind that begin with these letters; none where plugins cannot be loaded."""
    from pathlib import Path

    from bnsbench.contract import PluginHost

    try:
        host = PluginHost.load((), Path())
    except BnsbenchError:
        return []
    return [record.name for record in getattr(host, kind) if record.name.startswith(begin)]


def _shell_in_use() -> str:
    import shellingham

    try:
        return str(shellingham.detect_shell()[0])
    except shellingham.ShellDetectionFailure:
        known = ", ".join(Shell)
        raise UsageError(f"The shell in use cannot be told: name one, such as {OPTIONS[1]} bash ({known}).") from None
