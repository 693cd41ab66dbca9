"""``bnsbench compare``: two results folders side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bnsbench.cli.options import AsJson


def compare(
    a: Annotated[Path, typer.Argument(metavar="RESULTS_A", help="Results folder.")],
    b: Annotated[Path, typer.Argument(metavar="RESULTS_B", help="Results folder to compare it with.")],
    as_json: AsJson = False,
) -> None:
    """Show which metrics differ between two results, with paired 95 % intervals over the same noise."""
    from bnsbench.cli.encoding import for_stdout
    from bnsbench.cli.printing import print_table
    from bnsbench.report.compare import compare as changes
    from bnsbench.report.compare import verdicts
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
        typer.echo(to_json(frame), nl=False)
    elif frame.empty:
        typer.echo("Nothing differs.")
    else:
        typer.echo(for_stdout(f"{verdicts(frame)}; each interval has 95 % by itself.\n"))
        rows = [[for_stdout(_text(value)) for value in row] for row in frame.to_numpy()]
        print_table([str(column) for column in frame.columns], rows)


def _text(value: Any) -> str:
    if value is None or value != value:  # noqa: PLR0124 (NaN: nothing to show)
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
