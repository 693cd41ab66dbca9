"""How a table does elsewhere than where it was trained, beside what was made for each of these places."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bnsbench.api.named import NamedModel, loaded, named_model, open_host, scales_of, whole
from bnsbench.api.places import Places
from bnsbench.api.training import TOLERANCE, sources_of
from bnsbench.api.wrapped import WrappedModel
from bnsbench.contract import PluginHost
from bnsbench.errors import UsageError
from bnsbench.flows.model import Model
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.scope import with_measured
from bnsbench.training.listener import Listener

if TYPE_CHECKING:
    import pandas as pd

SAMPLES = 128
COLUMNS = (
    *("model", "guidance", "dtype", "status", "psnr", "psnr_low", "psnr_high"),
    *(f"specialist{end}" for end in ("", "_psnr", "_difference", "_low", "_high", "_forwards")),
    *(f"classic{end}" for end in ("", "_psnr", "_difference", "_low", "_high", "_forwards")),
    *("ceiling", "forwards", "truth_forwards", "reason"),
)
COUNTS = ("specialist_forwards", "classic_forwards", "forwards", "truth_forwards")


@dataclass(frozen=True)
class Transfer:
    """What `transfer` has measured.

    Args:
        table: One row for each place: model, guidance, dtype; status ("ok", "skipped" or "diverged") with the reason; psnr
            in dB (the mean over samples) with its 95 % interval; of the specialist and of the best tuned classic the name,
            the PSNR and what they cost in forwards, and the difference of the table to each (negative where the table is
            worse) with its paired 95 % interval; the ceiling that the ground truth resolves; forwards of the network per
            sample, and of the ground truth.
        artefact: The solver, with what was measured in its training record: where it is used elsewhere, it is told then.
        forwards: Of the network that all of it took: ground truth, samples, searches and trainings; the measurement of the
            ceilings aside.
    """

    table: pd.DataFrame
    artefact: SolverArtefact
    forwards: int


def transfer(
    solver: str | Path | SolverArtefact,
    *,
    guidance: float | Sequence[float] | None = None,
    dtype: str | torch.dtype | Sequence[str | torch.dtype] | None = None,
    model: str | Model | Sequence[str | Model] | None = None,
    specialists: Sequence[str | Path | SolverArtefact] = (),
    train: bool = False,
    samples: int = SAMPLES,
    seed: int = 0,
    tolerance: float = TOLERANCE,
    device: str = "auto",
    plugins: Sequence[Path | str] = (),
    cache: Path | str | None = None,
    listener: Listener | None = None,
) -> Transfer:
    """Measure how a trained table does under other guidance, in other precisions and on other models.

    Beside it stand, on the same test noise, a table of the same kind that was trained there (the specialist), the best tuned
    classic there, and the ceiling of the ground truth. For a model on another path the table is converted to that path. What
    is computed is kept in the cache, so that a measurement that was interrupted goes on where it was.

    Args:
        solver: The file of a trained solver, or what `train` returned.
        guidance: The scales w; those of the table if None.
        dtype: Precisions of the network, such as ["float32", "bfloat16"]; the model's own if None.
        model: Models by selector, or models of your own; the one that the table names if None.
        specialists: Solvers that were trained elsewhere, of which each stands where it was trained. The table itself and
            those that the package ships are known.
        train: Whether to train a specialist where there is none.
        samples: Of each place, 2 or more.
        seed: Of every noise stream.
        tolerance: Of the ground truth, between 0 and 1.
        device: "auto", "cpu", "cuda" or "cuda:<i>".
        plugins: Single plugin files to load.
        cache: Folder for ground truth and trainings; BNSBENCH_CACHE or the user's cache folder if None.
        listener: Hears what is being done.

    Returns:
        The matrix, and the solver with what was measured in its record.

    Raises:
        UsageError: For an unknown name, a file that is none, or several precisions of a model that can be cast only once.
        DivergedError: If a model's ground truth cannot be solved.
    """
    import pandas as pd  # noqa: PLC0415 (slow to import)

    host, count = open_host(plugins), whole("samples", samples)
    if count < 2:
        raise UsageError("An interval takes 2 samples or more.")
    artefact = loaded(solver)
    models, types = _several(model or artefact.model), _several(dtype)
    scales = artefact.scope.guidance if guidance is None else scales_of(guidance)
    folder = None if cache is None else Path(cache)
    others = list(map(loaded, specialists))
    places = Places(host, artefact, others, train, count, listener or Listener(), folder)
    rows = []
    for named in _placed(host, models, types, device):
        sources = sources_of(named, scales, seed=seed, tolerance=tolerance, cache=folder, listener=places.listener)
        rows += [places.row(named, source) for source in sources]
    places.forget()
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict.fromkeys(COUNTS, "Int64"))
    table.attrs.update(solver=artefact.name, nfe=artefact.solver.nfe, samples=count, seed=seed, forwards=places.forwards)
    measured = replace(artefact, training=with_measured(artefact.training, places.entries))
    return Transfer(table, measured, places.forwards)


def _several(values: Any) -> list[Any]:
    return list(values) if isinstance(values, list | tuple) else [values]


def _placed(
    host: PluginHost, models: Sequence[str | Model], types: Sequence[str | torch.dtype | None], device: str
) -> Iterator[NamedModel]:
    """Yield every model in every precision, one after the other."""
    for model in models:
        if len(types) > 1 and not isinstance(model, str | WrappedModel):
            raise UsageError(
                "A model's object is cast in place: give it by its selector to measure it in several precisions."
            )
        for dtype in types:
            yield named_model(host, model, device, dtype)
