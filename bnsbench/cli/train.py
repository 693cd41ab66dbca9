"""``bnsbench train``: a solver trained for one model, guidance and NFE, saved as a file."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnsbench.cli.options import Device, DType, Guidance, PluginFiles, Quiet, Seed, open_host
from bnsbench.cli.printing import print_table
from bnsbench.errors import NotApplicableError, UsageError

if TYPE_CHECKING:
    from bnsbench.flows.pairs import PairSource
    from bnsbench.nonstationary.artefact import SolverArtefact
    from bnsbench.nonstationary.tracing import Sampler
    from bnsbench.plugins import PluginHost, Selection
    from bnsbench.specs import SolverSpec

CLASSICS = ("euler", "midpoint", "heun", "ab2", "rk4", "ddim", "dpm++2m", "unipc")
"""The solvers beside which a trained one is shown, those of them that can spend its NFE."""

TEST_SAMPLES = 256


def train(
    model: Annotated[str, typer.Argument(help="Model to train for, such as digits-ot or digits-gmm[path=vp].")],
    nfe: Annotated[int, typer.Option(help="Evaluations that the solver may spend.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="SOLVER.json", help="File for the solver.")],
    *,
    guidance: Guidance = 0.0,
    solver: Annotated[str, typer.Option(help="Which trained solver, such as bns or bns[recipe=paper].")] = "bns",
    seed: Seed = 0,
    device: Device = "auto",
    dtype: DType = None,
    plugin: PluginFiles = None,
    quiet: Quiet = False,
) -> None:
    """Train a solver, save it, and show where it stands among the classics on fresh noise."""
    from bnsbench.cli.components import check_budget, make_model, pick_device
    from bnsbench.cli.progress import training_progress
    from bnsbench.flows.pairs import PairSource
    from bnsbench.suite.environment import cache_folder
    from bnsbench.suite.plan import digest
    from bnsbench.training.problem import Problem

    host = open_host(plugin)
    selection, chosen = host.solver(solver), host.model(model)
    _check(selection, output)
    check_budget(selection, nfe)
    place = pick_device(device)
    with training_progress(quiet) as progress:
        made = make_model(chosen, place, dtype)
        source = PairSource(
            made, chosen.name, guidance, seed, cache=cache_folder() / "pairs", device=place, progress=progress.stage
        )

        @cache
        def trained(budget: int) -> SolverArtefact:
            artefact: SolverArtefact = selection.make()(problem, budget)
            return artefact

        task = {"model": made.fingerprint(), "name": chosen.name, "guidance": guidance, "dtype": str(made.dtype)}
        task |= {"solver": selection.name, "nfe": nfe, "seed": seed}
        problem = Problem(
            source,
            previous=trained,
            progress=progress.training,
            solver=lambda name: host.solver(name).make(),
            checkpoint=cache_folder() / "training" / f"{digest(task)}.pt",
        )
        artefact = trained(nfe)
        artefact.save(output)
        standings = _standings(host, source, artefact)
    _print(artefact, output, standings)


def _check(selection: Selection[SolverSpec], output: Path) -> None:
    if selection.spec.kind != "trained":
        raise UsageError(f"The solver {selection.name!r} is not a trained one; use it by its name.")
    if output.is_dir():
        raise UsageError(f"{str(output)!r} is a folder: --output names the file for the solver.")


def _standings(host: PluginHost, source: PairSource, artefact: SolverArtefact) -> list[tuple[str, float]]:
    """Return (solver, PSNR in dB on test noise) of the trained solver and the classics, the best first."""
    from bnsbench.cli.components import Setting, find_solver

    setting = Setting(source.model.path, source.model.interval)
    standings = [(artefact.name, _psnr(source, artefact.solver))]
    offered = {spec.name for spec in host.solvers if spec.provider == "builtin"}
    for name in CLASSICS:
        if name not in offered:
            continue
        try:
            found = find_solver(host, f"builtin/{name}", artefact.solver.nfe, setting)
        except (UsageError, NotApplicableError):  # it cannot spend this NFE
            continue
        standings.append((name, _psnr(source, found.sampler)))
    return sorted(standings, key=lambda row: -row[1])


def _psnr(source: PairSource, sampler: Sampler) -> float:
    from bnsbench.flows.psnr import psnr_per_sample

    pairs = source.pairs("test", TEST_SAMPLES)
    samples = sampler(pairs.field, pairs.x0.clone())
    return float(psnr_per_sample(samples, pairs.x1, source.model.data_range).mean())


def _print(artefact: SolverArtefact, output: Path, standings: list[tuple[str, float]]) -> None:
    typer.echo(
        f"{artefact.name} for {artefact.model} at guidance {artefact.guidance:g} and {artefact.solver.nfe} NFE: {output}"
    )
    print_table(
        ("solver", f"PSNR in dB, {TEST_SAMPLES} test samples"), [[name, f"{value:.2f}"] for name, value in standings]
    )
