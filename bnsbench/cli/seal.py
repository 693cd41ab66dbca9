"""``bnsbench seal``: one digest over a folder of results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bnsbench.cli.options import AsJson
from bnsbench.cli.printing import print_json


def seal(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="Results folder, such as results/default.")],
    as_json: AsJson = False,
) -> None:
    """Seal a folder of results: write the file SEAL over all of its files, and print the digest to be quoted.

    The digest covers names, sizes and contents of every file, suite and environment among them, but not previews.
    `bnsbench verify RESULTS --seal DIGEST` checks it. Damaged or unfinished results are not sealed.
    """
    from bnsbench.report.seal import seal as seal_results
    from bnsbench.suite.store import find_results

    store = find_results(results)
    made = seal_results(store)
    if as_json:
        print_json({"folder": str(store.folder), "digest": made.digest, "files": made.files, "bytes": made.bytes})
    else:
        typer.echo(made.digest)
