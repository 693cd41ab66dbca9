"""Tables and JSON on stdout: drawn for a terminal, plain lines for a pipe or a file."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import typer

Rows = Sequence[Sequence[str]]


def print_json(data: Any) -> None:
    """Print data as JSON; paths and the like become text."""
    typer.echo(json.dumps(data, indent=2, default=str))


def print_table(columns: Sequence[str], rows: Rows) -> None:
    """Print a table whose cells are text."""
    if sys.stdout.isatty():
        _draw(columns, rows)
    else:
        for line in plain_lines(columns, rows):
            typer.echo(line)


def plain_lines(columns: Sequence[str], rows: Rows) -> list[str]:
    """Return the table as aligned lines, two spaces between columns, nothing cut off."""
    lines = [list(columns), *(list(row) for row in rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(columns))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def _draw(columns: Sequence[str], rows: Rows) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns)
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)
