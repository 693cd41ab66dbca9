"""``bnsbench sample``: samples to look at, beside the ground truth of the same noise."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bnsbench.cli.options import AsJson, Device, DType, Guidance, PluginFiles, Seed, Strict, open_host, with_model_file
from bnsbench.cli.printing import busy, note, print_json
from bnsbench.errors import UsageError
from bnsbench.process.float32 import use_full_float32


def sample(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model to sample, such as digits-ot or ring8.")],
    *,
    solver: Annotated[str, typer.Option(metavar="NAME|FILE", help="A solver's name, or the file of a trained one.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures or sounds.")],
    nfe: Annotated[int | None, typer.Option(help="Evaluations to spend; a file knows its own.", show_default=False)] = None,
    count: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many samples.")] = 16,
    prompt: Annotated[
        list[str] | None,
        typer.Option("--prompt", "--text", help="What to make, in words; may be repeated.", show_default=False),
    ] = None,
    voice: Annotated[int | None, typer.Option(help="Number of the voice that speaks a text.", show_default=False)] = None,
    guidance: Guidance = 0.0,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: DType = None,
    strict: Strict = False,
    plugin: PluginFiles = None,
    as_json: AsJson = False,
) -> None:
    """Write samples as pictures or sound with their ground truth beside them, and print the PSNR between the two."""
    import torch

    from bnsbench.api.named import find_solver, named_model
    from bnsbench.api.sampling import conditions_of, draw
    from bnsbench.api.scope import remark_on
    from bnsbench.media.pictures import display_for
    from bnsbench.truth.psnr import psnr_per_sample

    if voice is not None and not prompt:
        raise UsageError("A voice needs something to say: add --text.")
    use_full_float32()
    model, plugin = with_model_file(model, plugin)
    host = open_host(plugin)
    named = named_model(host, model, device, dtype)
    shown = display_for(named.modality, named.model.sample_rate)
    found = find_solver(host, solver, nfe, named.setting, named, guidance)
    if remark := remark_on(found, named, guidance, strict):
        note(remark)
    details = {} if voice is None else {"voice": voice}
    condition = conditions_of(named.model, prompt, count, **details) if prompt else None
    with busy(f"sampling {named.name} and solving for the ground truth"):
        drawn = draw(named, found, count, guidance=guidance, seed=seed, condition=condition)
        truth = drawn.truth()
        with torch.no_grad():
            decoded = named.model.decode(drawn.states), named.model.decode(truth)
    output.mkdir(parents=True, exist_ok=True)
    overview = output / "overview.png"
    shown.each(*decoded, output)
    shown.overview(*decoded, overview)
    psnr = psnr_per_sample(drawn.states, truth, named.model.data_range).cpu()
    if as_json:
        figures = {"nfe": drawn.nfe, "psnr": float(psnr.mean()), "per_sample": psnr.tolist()}
        print_json({"solver": found.name, "model": named.name, **figures, "folder": str(output), "overview": str(overview)})
    else:
        told = f"{drawn.nfe} NFE, {float(psnr.mean()):.2f} dB to the ground truth, {overview}"
        typer.echo(f"{found.name} on {named.selector}: {told}")
