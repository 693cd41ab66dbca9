"""``bnsbench new``: an installable package with a solver, a model or a metric, to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bnsbench.cli.options import ComponentKind, open_host
from bnsbench.errors import UsageError


def new(
    kind: Annotated[
        ComponentKind, typer.Argument(metavar="KIND", help="What the package is to offer: solver, model or metric.")
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the component, such as my-solver.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Folder to write; bnsbench-NAME if not given.", show_default=False
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            metavar="URL|DIR",
            help="Where its CI file installs bnsbench from: git+https://... or a folder.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write an installable plugin package with a small component that works, its tests, and a CI file.

    Its name must be new, and so must the folder.
    """
    from bnsbench.contract.scaffold import SOURCE, write_package

    taken = {record.name for record in getattr(open_host(None), f"{kind.value}s")}
    if name in taken:
        raise UsageError(f"There is a {kind.value} {name!r} already; choose another name.")
    folder = write_package(kind.value, name, output, source)
    module = folder / f"bnsbench_{name.replace('-', '_')}" / f"{kind.value}.py"
    typer.echo(f"Wrote {folder}; what it offers is in {module}. Install it, check it, and run its tests:")
    typer.echo(f"\n    python -m pip install -e {folder}\n    bnsbench check {name}\n    python -m pytest {folder}")
    if source is None and not SOURCE:
        typer.echo(
            "There is no bnsbench on the package index yet: for its CI file to run, set BNSBENCH in it, or use --source.",
            err=True,
        )
