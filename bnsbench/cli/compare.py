"""``bnsbench compare``: two results folders side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnsbench.cli.options import AsJson
from bnsbench.process.streams import write_result

if TYPE_CHECKING:
    import pandas as pd

ONE_SIDED = ("only in A", "only in B")
MOST_ONE_SIDED = 20
"""Cells of one side that are listed; of more, their number says enough."""


def compare(
    a: Annotated[Path, typer.Argument(metavar="RESULTS_A", help="Results folder.")],
    b: Annotated[Path, typer.Argument(metavar="RESULTS_B", help="Results folder to compare it with.")],
    as_json: AsJson = False,
) -> None:
    """Show which metrics differ between two results, with paired 95 % intervals over the same noise."""
    from bnsbench.report.compare import compare as changes
    from bnsbench.report.compare import unequal_counts
    from bnsbench.report.tables import to_json
    from bnsbench.report.versions import settled_records
    from bnsbench.suite.store import find_results

    sides = []
    for store in (find_results(a), find_results(b)):
        records, notes = settled_records(store)
        sides.append(records)
        for note in notes:
            typer.echo(f"{store.folder}: {note}", err=True)
    frame = changes(*sides)
    if as_json:
        write_result(to_json(frame))
    elif frame.empty:
        typer.echo("Nothing differs.")
    else:
        _print(frame, unequal_counts(*sides))


def _print(frame: pd.DataFrame, remark: str) -> None:
    """Print how many rows have which verdict, what has to be known about them, and the rows themselves."""
    from bnsbench.cli.printing import print_table
    from bnsbench.report.compare import verdicts

    typer.echo(f"{verdicts(frame)}; each interval has 95 % by itself.")
    if remark:
        typer.echo(remark)
    one_sided = frame["verdict"].isin(ONE_SIDED) & frame["metric"].isna()
    if one_sided.sum() > MOST_ONE_SIDED:
        frame = frame[~one_sided]
        typer.echo("The cells that only one of them has are not listed; --json lists them.")
    if not frame.empty:
        typer.echo()
        rows = [[_text(value) for value in row] for row in frame.to_numpy()]
        print_table([str(column) for column in frame.columns], rows)


def _text(value: Any) -> str:
    if value is None or value != value:  # noqa: PLR0124 (NaN: nothing to show)
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
