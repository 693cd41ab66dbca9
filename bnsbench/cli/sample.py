"""``bnsbench sample``: samples to look at, beside the ground truth of the same noise."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnsbench.cli.options import Device, DType, Guidance, PluginFiles, Seed, open_host
from bnsbench.errors import BnsbenchError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from bnsbench.cli.components import FoundSolver
    from bnsbench.flows.model import Model

TRUTH_TOLERANCE = 1e-5
"""Of the ground truth to look at, which is solved for these samples only."""


def sample(
    model: Annotated[str, typer.Argument(help="Model to sample, such as digits-ot or ring8.")],
    *,
    solver: Annotated[str, typer.Option(metavar="NAME|FILE", help="A solver's name, or the file of a trained one.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures or sounds.")],
    nfe: Annotated[int | None, typer.Option(help="Evaluations to spend; a file knows its own.", show_default=False)] = None,
    count: Annotated[int, typer.Option(min=1, help="How many samples.")] = 16,
    prompt: Annotated[
        list[str] | None,
        typer.Option("--prompt", "--text", help="What to make, in words; may be repeated.", show_default=False),
    ] = None,
    voice: Annotated[int | None, typer.Option(help="Number of the voice that speaks a text.", show_default=False)] = None,
    guidance: Guidance = 0.0,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: DType = None,
    plugin: PluginFiles = None,
) -> None:
    """Write samples as pictures or sound with their ground truth beside them, and print the PSNR between the two."""
    import torch
    from rich.console import Console

    from bnsbench.cli.components import Setting, find_solver, make_model
    from bnsbench.flows.measured import Meter
    from bnsbench.media.pictures import exhibit
    from bnsbench.models.shipped import shipped_solver
    from bnsbench.process.machine import choose_device
    from bnsbench.truth.ground_truth import solve
    from bnsbench.truth.pairs import PairSource
    from bnsbench.truth.psnr import psnr_per_sample

    if voice is not None and not prompt:
        raise UsageError("A voice needs something to say: add --text.")
    host = open_host(plugin)
    selection, place = host.model(model), choose_device(device)
    made = make_model(selection, place, dtype)
    shown = exhibit(made.modality(selection.spec.modality), made.sample_rate)
    shipped = partial(shipped_solver, selection.name, made, guidance)
    found = find_solver(host, solver, nfe, Setting(made.path, made.interval), shipped)
    _warn_of_mismatch(found, made, guidance)
    source = PairSource(made, selection.canonical, guidance, seed, device=place)
    indices = torch.arange(count)
    velocity = made.field(_asked(made, prompt, voice, count).to(place), guidance) if prompt else source.field(indices)
    x0 = source.initial("test", indices)
    meter = Meter(velocity, x0)
    with Console(stderr=True).status(f"sampling {selection.name} and solving for the ground truth"):
        with torch.no_grad():
            samples = found.sampler(meter.field, x0.clone())
        meter.close()
        spent = meter.spent(found.nfe)
        if not bool(samples.isfinite().all()):
            raise BnsbenchError(f"The samples of {found.name!r} at {spent} NFE left the finite numbers.")
        truth, _ = solve(velocity, x0, TRUTH_TOLERANCE)
    with torch.no_grad():
        decoded, overview = (made.decode(samples), made.decode(truth)), output / "overview.png"
    output.mkdir(parents=True, exist_ok=True)
    shown.each(*decoded, output)
    shown.overview(*decoded, overview)
    psnr = float(psnr_per_sample(samples, truth, made.data_range).mean())
    typer.echo(f"{found.name} on {selection.name}: {spent} NFE, {psnr:.2f} dB to the ground truth, {overview}")


def _asked(model: Model, prompts: list[str], voice: int | None, count: int) -> Tensor:
    """Return the conditions [count, ...] of prompts that take turns."""
    import torch

    details = {} if voice is None else {"voice": voice}
    conditions = torch.stack([model.describe(text, **details) for text in prompts])
    return conditions[torch.arange(count) % len(prompts)]


def _warn_of_mismatch(found: FoundSolver, model: Model, guidance: float) -> None:
    """Say on stderr if a trained solver was made for something else; it still samples, if not as well."""
    from bnsbench.truth.mixed_source import guidance_in_words

    artefact = found.artefact
    if artefact is None:
        return
    if artefact.path != model.path:
        raise UsageError(f"The solver was trained on the {artefact.path.name} path, which this model does not have.")
    if artefact.fingerprint != model.fingerprint():
        typer.echo(f"Note: the solver was trained for other weights ({artefact.model}).", err=True)
    served = artefact.guidance if isinstance(artefact.guidance, tuple) else (artefact.guidance,)
    if guidance not in served:
        typer.echo(f"Note: the solver was trained at guidance {guidance_in_words(served)}, not {guidance:g}.", err=True)
