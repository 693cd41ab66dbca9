"""The commands put together, and what happens to their errors.

A command is one plain function in a file of its own, named like the command: ``run`` in ``cli/run.py``. Its arguments are
annotated for typer (shared ones come from `bnsbench.cli.options`), its docstring is the help text, and whatever it needs
beyond argument handling is imported inside it, so that ``--help`` stays quick. It prints its result to stdout and
progress to stderr, raises `BnsbenchError` for what the user can mend and `typer.Exit` for another exit code. It is added
to the application by one line below.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Annotated, NoReturn

import typer
from typer.main import get_command

from bnsbench._text import quoted, shortened
from bnsbench._version import __version__
from bnsbench.cli.check import check
from bnsbench.cli.compare import compare
from bnsbench.cli.completion import PROGRAM, InstallCompletion, ShowCompletion, prepare_completion, with_shell
from bnsbench.cli.doctor import doctor
from bnsbench.cli.encoding import make_streams_forgiving
from bnsbench.cli.groups import Command, Group, ending_with_the_reader
from bnsbench.cli.leaderboard import leaderboard
from bnsbench.cli.list import list_components
from bnsbench.cli.merge import merge
from bnsbench.cli.new import new
from bnsbench.cli.plot import plot
from bnsbench.cli.plugins import plugins
from bnsbench.cli.pretrain import pretrain
from bnsbench.cli.publish import publish
from bnsbench.cli.report import report
from bnsbench.cli.run import run
from bnsbench.cli.sample import sample
from bnsbench.cli.seal import seal
from bnsbench.cli.solver import blend, diff, export, show
from bnsbench.cli.train import train
from bnsbench.cli.transfer import transfer
from bnsbench.cli.tune import tune
from bnsbench.cli.verify import verify
from bnsbench.errors import BnsbenchError, needed_for, one_line
from bnsbench.process.cpu import wait_briefly
from bnsbench.process.shown import shown_streams

LONGEST_SENTENCE = 3000
"""Letters of an error's sentence, which may quote files of others; the middle of a longer one is left out."""

app = typer.Typer(
    cls=Group,
    help="Which ODE solver should sample a diffusion or flow model at a given NFE - and better ones, trained for it.",
    no_args_is_help=True,
    add_completion=False,  # typer's own options name no shell
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # typer's rich help takes half a second to import
)

solver = typer.Typer(cls=Group, help="Look at a solver's non-stationary table, or hand it on.", no_args_is_help=True)
for name, command in (("show", show), ("diff", diff), ("export", export), ("blend", blend)):
    solver.command(name, cls=Command)(command)

app.command("run", cls=Command)(run)
app.command("leaderboard", cls=Command)(leaderboard)
app.command("report", cls=Command)(report)
app.command("plot", cls=Command)(plot)
app.command("merge", cls=Command)(merge)
app.command("compare", cls=Command)(compare)
app.command("verify", cls=Command)(verify)
app.command("seal", cls=Command)(seal)
app.command("tune", cls=Command)(tune)
app.command("publish", cls=Command)(publish)
app.command("train", cls=Command)(train)
app.command("transfer", cls=Command)(transfer)
app.command("sample", cls=Command)(sample)
app.add_typer(solver, name="solver")
app.command("list", cls=Command)(list_components)
app.command("plugins", cls=Command)(plugins)
app.command("check", cls=Command)(check)
app.command("new", cls=Command)(new)
app.command("doctor", cls=Command)(doctor)
app.command("pretrain", cls=Command)(pretrain)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bnsbench {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error; may stand anywhere.")] = False,
    install_completion: InstallCompletion = None,
    show_completion: ShowCompletion = None,
) -> None:
    """Take the options that come before a command; `main` has already acted on --debug."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 misused, 130 interrupted.

    arguments: the words after the program's name; those of the process if None.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    wait_briefly()
    make_streams_forgiving()
    prepare_completion()
    with shown_streams():
        _run(words, debug)


def _run(words: list[str], debug: bool) -> None:
    """Run the command that the words mean, and end with its exit code."""
    try:
        with ending_with_the_reader(), needed_for("this command"):
            get_command(app)(args=with_shell([word for word in words if word != "--debug"]), prog_name=PROGRAM)
    except BnsbenchError as error:
        _fail(error, str(error), error.exit_code, debug)
    except OSError as error:
        if error.errno not in (errno.ENAMETOOLONG, errno.ELOOP):
            _fail_unexpectedly(error, debug)
        _fail(error, f"{quoted(error.filename)} is no name of a file: {error.strerror}.", 2, debug)
    except Exception as error:  # noqa: BLE001 (the last resort: one sentence instead of a traceback)
        _fail_unexpectedly(error, debug)


def _fail_unexpectedly(error: Exception, debug: bool) -> NoReturn:
    sentence = f"Unexpected {type(error).__name__}: {one_line(error)}; run again with --debug for the traceback."
    _fail(error, sentence, 1, debug)


def _show_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    with shown_streams():
        sys.__excepthook__(kind, error, trace)


def _fail(error: Exception, sentence: str, exit_code: int, debug: bool) -> NoReturn:
    if debug:
        sys.excepthook = _show_traceback
        raise error
    typer.echo(f"bnsbench: {shortened(sentence, LONGEST_SENTENCE)}", err=True)
    sys.exit(exit_code)
