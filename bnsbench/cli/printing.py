"""Tables and JSON on stdout: fitted to a terminal, one line a row for a pipe or a file; nothing is ever cut off.

All that rich draws passes through here, and its texts through `styled`: control characters in them are spelt out.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bnsbench.cli.encoding import for_stdout
from bnsbench.process.shown import for_colours
from bnsbench.process.streams import write_result
from bnsbench.report.escaping import one_line
from bnsbench.storage.plain_data import as_plain_data

if TYPE_CHECKING:
    from rich.console import Console, OverflowMethod, RenderableType
    from rich.text import Text

Rows = Sequence[Sequence[str]]

GAP = "  "
"""Between the columns of a table."""

LINES = 100
"""The height of a terminal, which nothing printed here depends on."""

LEAST_TEXT = 20
"""Columns below which no text is wrapped, for lines of a word or two are hard to read."""

UNLIMITED = 100_000
"""The width of a pipe or a file, which has none."""


def print_json(data: Any) -> None:
    """Print data as JSON, and nothing else reaches stdout; paths and the like become text, what is not finite null."""
    write_result(json.dumps(as_plain_data(data), indent=2, allow_nan=False) + "\n")


def note(remark: str) -> None:
    """Tell on stderr what the user should know of a result."""
    typer.echo(f"Note: {remark}", err=True)


def shown_path(path: Path) -> str:
    """Return a path as it is read: from the current folder where it lies in it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def print_table(columns: Sequence[str], rows: Rows) -> None:
    """Print a table whose cells are text.

    A terminal's lines are as wide as the terminal: cells wrap between words, and where not even their words fit, every row
    becomes a block of lines. A pipe or a file gets one line a row.
    """
    head, lines = [one_line(name) for name in columns], [[one_line(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        widths = fitted([head, *lines], terminal_width())
        print_rich(_blocks(head, lines) if widths is None else _table(head, lines, widths))
    else:
        for line in plain_lines(head, lines):
            typer.echo(for_stdout(line))


def plain_lines(columns: Sequence[str], rows: Rows) -> list[str]:
    """Return the table as aligned lines, two spaces between columns, nothing cut off."""
    lines = [list(columns), *rows]
    widths = [max(shown_width(line[k]) for line in lines) for k in range(len(columns))]
    return [
        GAP.join(cell + " " * (width - shown_width(cell)) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def styled(text: str, style: str = "", overflow: OverflowMethod | None = None) -> Text:
    """Return a text on one line for rich, whose control characters are spelt out; brackets in it are no markup."""
    from rich.text import Text

    return Text(one_line(text), style=style, overflow=overflow)


def error_console() -> Console:
    """Return rich's console on stderr."""
    from rich.console import Console

    return Console(file=for_colours(sys.stderr))


@contextmanager
def busy(text: str) -> Iterator[None]:
    """Show on a terminal's stderr that something is being done while the block runs."""
    with error_console().status(styled(text)):
        yield


def print_rich(*renderables: RenderableType) -> None:
    """Print what rich draws of `styled` texts, one below the other, in colours on a terminal, as stdout can write it."""
    from rich.console import Console

    # Without a height rich takes a dumb terminal for one of 80 columns.
    console = Console(file=for_colours(sys.stdout), highlight=False, width=terminal_width(), height=LINES)
    with console.capture() as captured:
        console.print(*renderables, sep="\n")
    # Lines of a table are filled with spaces up to its width.
    text = "\n".join(line.rstrip() for line in captured.get().splitlines())
    typer.echo(for_stdout(text), file=for_colours(sys.stdout))


def terminal_width() -> int:
    """Return the columns that stdout has: those of the terminal, or as many as need be."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else UNLIMITED


def shown_width(text: str) -> int:
    """Return how many columns a text takes; East Asian characters take two each."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def fitted(lines: Rows, width: int) -> list[int] | None:
    """Return column widths that fit a table into ``width`` with no word cut; None if there are none.

    The widest columns give way first, to their longest word or to LEAST_TEXT at most.
    """
    columns = list(zip(*lines, strict=True))
    widths = [max(map(shown_width, column)) for column in columns]
    words = [max(shown_width(word) for cell in column for word in [*cell.split(), ""]) for column in columns]
    least = [max(word, min(width, LEAST_TEXT)) for word, width in zip(words, widths, strict=True)]
    room = width - len(GAP) * (len(columns) - 1)
    while sum(widths) > room:
        yielding = [k for k in range(len(widths)) if widths[k] > least[k]]
        if not yielding:
            return None
        widths[max(yielding, key=lambda k: widths[k])] -= 1
    return widths


def _table(columns: Sequence[str], rows: Rows, widths: Sequence[int]) -> RenderableType:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column, width in zip(columns, widths, strict=True):
        table.add_column(styled(column), width=width)
    for row in rows:
        table.add_row(*map(styled, row))
    return table


def _blocks(columns: Sequence[str], rows: Rows) -> RenderableType:
    """Return every row as lines: its first cell, and below it "column: cell" for the others that hold something."""
    from rich.console import Group
    from rich.padding import Padding

    parts: list[RenderableType] = []
    for row in rows:
        parts.append(styled(row[0], "bold", "fold"))
        for column, cell in zip(columns[1:], row[1:], strict=True):
            if cell:
                parts.append(Padding(styled(f"{column}: {cell}", overflow="fold"), (0, 0, 0, len(GAP))))
    return Group(*parts)
