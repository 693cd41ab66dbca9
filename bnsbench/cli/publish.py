"""``bnsbench publish``: a finished run among the published results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bnsbench.cli.options import PluginFiles, open_host


def publish(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run, such as runs/default.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of published results.")] = Path(
        "results"
    ),
    allow_failed: Annotated[
        bool, typer.Option("--allow-failed", help="Publish cells that failed or timed out, too.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Drop published records that the run does not have.")] = False,
    plugin: PluginFiles = None,
) -> None:
    """Check a finished run and copy it to results/SUITE, whole or not at all.

    Copied are the suite, the plan, the environment, records, solvers, tables, pictures and the hashes of them all; previews
    stay behind. What was published under the suite's name before is replaced, if the run has all of its records.
    """
    from bnsbench.report.publish import publish as publish_run
    from bnsbench.suite.store import find_results

    done = publish_run(find_results(run), open_host(plugin), output, allow_failed=allow_failed, replace=replace)
    counts = [(done.new, "new"), (done.changed, "changed"), (done.unchanged, "as before"), (done.removed, "dropped")]
    told = ", ".join(f"{count} {word}" for count, word in counts if count)
    instead = f", in place of {done.replaced}" if done.replaced else ""
    typer.echo(f"{done.folder}: {done.records} records published{instead} ({told}).")
