"""How every command helps and ends: summaries in full, types in a user's words, and quiet where nobody reads any more."""

from __future__ import annotations

import os
import re
import select
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, TextIO

import typer
from typer.core import TyperCommand, TyperGroup

from bnsbench.cli.completion import complete_metrics, complete_models, complete_solvers
from bnsbench.process.streams import results_alone

COMPLETED = {"model": complete_models, "solver": complete_solvers, "metric": complete_metrics}
"""What completes arguments and options of these names."""

_TYPES = {"int": "N", "float": "X", "path": "PATH"}
"""What typer calls a type, and what a user does; a text has the name of its option."""

_TYPE = re.compile(r"<(?:list\[)?([^<>\[\]]+)\]?>")
"""A type in the left column of a help page."""


class Command(TyperCommand):
    """A command whose help tells types in a user's words, and whose arguments of one name are completed alike."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        for parameter in self.params:
            names = COMPLETED.get(parameter.name or "")
            if names is not None:
                parameter._custom_shell_complete = _completing(names)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        super().format_help(ctx, _in_plain_words(formatter))

    def invoke(self, ctx: Any) -> Any:
        with results_alone() if ctx.params.get("as_json") else nullcontext():
            return super().invoke(ctx)


class Group(TyperGroup):
    """Commands with their summaries in full; an interrupted one ends with one line and exit code 130."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        super().format_help(ctx, _in_plain_words(formatter))

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary(command.help or "")) for name, command in commands.items() if command])

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        with _readers_leave():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        try:
            with _readers_leave():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo("Interrupted: what is finished is kept, and the same command resumes.", err=True)
            raise typer.Exit(130) from None


def summary(text: str) -> str:
    """Return the first paragraph of a help text on one line."""
    return " ".join(text.partition("\n\n")[0].split())


class _ReaderLeft(Exception):  # noqa: N818 (no error: whoever reads a pipe may stop)
    """Whoever reads stdout has stopped; no `OSError`, of which click would make exit code 1."""


@contextmanager
def _readers_leave() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        if not (_is_abandoned(sys.stdout) or _is_abandoned(sys.stderr)):
            # A pipe to a process of ours: no reader's doing, and click would end without a word.
            raise RuntimeError("a pipe to another process has closed") from error
        raise _ReaderLeft from error


def _is_abandoned(stream: TextIO) -> bool:
    """Whether nobody reads what is written to a stream; taken for granted where the system does not tell."""
    try:
        watched = select.poll()
        watched.register(stream.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in watched.poll(0))
    except (AttributeError, OSError, ValueError):
        return not hasattr(select, "poll")


@contextmanager
def ending_with_the_reader() -> Iterator[None]:
    """End the process as SIGPIPE does, without a word, if whoever reads its output stops, such as ``head``."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except (_ReaderLeft, BrokenPipeError):
        # What is still to be written would fail again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if hasattr(signal, "SIGPIPE"):
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGPIPE)
        sys.exit(1)


def _completing(names: Callable[[str], list[str]]) -> Callable[[Any, Any, str], list[Any]]:
    """Return the completion of a parameter as click calls it."""

    def complete(ctx: Any, parameter: Any, incomplete: str) -> list[Any]:
        del ctx, parameter
        return names(incomplete)

    return complete


def _in_plain_words(formatter: Any) -> Any:
    """Return the formatter of a help page with one that tells types in a user's words in its left columns."""
    write = formatter.write_dl

    def write_in_plain_words(rows: Sequence[tuple[str, str]], *arguments: Any, **options: Any) -> None:
        write([(_plain(term), text) for term, text in rows], *arguments, **options)

    formatter.write_dl = write_in_plain_words
    return formatter


def _plain(term: str) -> str:
    """Return an option or an argument with its type in a user's words; an argument's name says what it is."""
    if not term.startswith("-"):
        return _TYPE.sub(lambda match: match[1] if "|" in match[1] else "", term).strip()
    name = term.split(maxsplit=1)[0].strip(",").lstrip("-").upper() if term.startswith("--") else "TEXT"
    return _TYPE.sub(lambda match: name if match[1] == "str" else _TYPES.get(match[1], match[1]), term)
