"""What ``train`` and ``tune`` share: the model's argument, the output's file, and how what was made is told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnsbench.errors import UsageError

if TYPE_CHECKING:
    from bnsbench.nonstationary.artefact import SolverArtefact

ForModel = Annotated[
    str, typer.Argument(metavar="MODEL", help="Model that it is for, such as digits-ot or digits-gmm[path=vp].")
]


def require_file(output: Path) -> None:
    """Raise UsageError where the output for one solver is a folder."""
    if output.is_dir():
        raise UsageError(f"{str(output)!r} is a folder: --output names the file for the solver.")


def setting(artefact: SolverArtefact) -> str:
    """Return what a table was made for, in words."""
    from bnsbench.flows.guidance import guidance_in_words

    return f"{artefact.model} at guidance {guidance_in_words(artefact.guidance)} and {artefact.solver.nfe} NFE"


def setting_as_json(artefact: SolverArtefact) -> dict[str, object]:
    """Return what a table was made for."""
    return {"model": artefact.model, "guidance": artefact.guidance, "nfe": artefact.solver.nfe}
