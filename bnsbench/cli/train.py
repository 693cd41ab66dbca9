"""``bnsbench train``: solvers trained for one model, saved as files and shown among the classics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnsbench.cli.options import Device, DType, PluginFiles, Quiet, Seed, open_host
from bnsbench.cli.printing import print_table
from bnsbench.cpu import keep_freed_memory
from bnsbench.errors import BnsbenchError, UsageError

if TYPE_CHECKING:
    from bnsbench.cli.progress import TrainingProgress
    from bnsbench.flows.mixed import Source
    from bnsbench.flows.pairs import PairSource
    from bnsbench.nonstationary.artefact import SolverArtefact
    from bnsbench.nonstationary.tracing import Sampler
    from bnsbench.plugins import PluginHost, Selection
    from bnsbench.specs import ModelSpec, SolverSpec

CLASSICS = (
    *("euler", "midpoint", "heun", "rk4", "ab2", "ab4", "ddim", "ipndm", "deis"),
    *("dpm++2m", "dpm++2m[grid=logsnr]", "unipc", "unipc[grid=logsnr]"),
)
"""The solvers beside which a trained one is shown, those of them that can spend its NFE."""

TEST_SAMPLES = 256


def train(
    model: Annotated[str, typer.Argument(help="Model to train for, such as digits-ot or digits-gmm[path=vp].")],
    nfe: Annotated[str, typer.Option(metavar="N|N-M|N,M,...", help="Evaluations that the solvers may spend.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="SOLVER.json|DIR", help="File for the solver, or folder for several.")
    ],
    *,
    guidance: Annotated[str, typer.Option(metavar="W[,W,...]", help="Guidance scale, or all that one solver serves.")] = "0",
    weights: Annotated[
        str, typer.Option(metavar="X[,X,...]", help="How much each guidance scale counts.", show_default=False)
    ] = "",
    solver: Annotated[
        str,
        typer.Option("--solver", "--parametrisation", help="Which trained solver, such as bns, gs or bns[recipe=paper]."),
    ] = "bns",
    init: Annotated[
        str | None, typer.Option(metavar="SOLVER|FILE|greedy", help="What bns starts from.", show_default=False)
    ] = None,
    objective: Annotated[
        str | None, typer.Option(help="log-mse, mse, features, trajectory, own, ...", show_default=False)
    ] = None,
    optimiser: Annotated[str | None, typer.Option(help="gauss-newton or adam.", show_default=False)] = None,
    derivative: Annotated[
        str | None, typer.Option(help="backward, or forward or difference to spare memory.", show_default=False)
    ] = None,
    tolerance: Annotated[float, typer.Option(help="Of the ground truth; a coarser one is cheaper.")] = 1e-6,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: DType = None,
    plugin: PluginFiles = None,
    quiet: Quiet = False,
) -> None:
    """Train solvers, save them, and show where they stand among the classics on fresh noise."""
    from bnsbench.cli.components import make_model, pick_device
    from bnsbench.cli.progress import training_progress
    from bnsbench.flows.mixed import MixedSource
    from bnsbench.flows.pairs import PairSource
    from bnsbench.suite.environment import cache_folder

    keep_freed_memory()
    host = open_host(plugin)
    settings = {"init": init, "objective": objective, "optimiser": optimiser, "derivative": derivative}
    selection, chosen = _with(host.solver(solver), settings), host.model(model)
    budgets, scales = _budgets(nfe), _numbers("--guidance", guidance)
    _check(selection, budgets, output)
    if not 0 < tolerance < 1:
        raise UsageError(f"--tolerance must lie between 0 and 1, not {tolerance:g}.")
    place, cache = pick_device(device), cache_folder() / "pairs"
    with training_progress(quiet) as progress:
        made = make_model(chosen, place, dtype)
        parts = [PairSource(made, chosen.canonical, w, seed, tolerance, cache, place, progress.stage) for w in scales]
        counts = _numbers("--weights", weights) if weights else []
        source = parts[0] if len(parts) == 1 and not counts else MixedSource(tuple(parts), tuple(counts))
        session = _Session(host, chosen, selection, source, progress, counts)
        for budget in budgets:
            session.trained(budget).save(_file(output, selection, budget, len(budgets) > 1))
        progress.stage("comparing with the classic solvers")
        standings = [_standings(host, parts, session.trained(budget)) for budget in budgets]
        session.forget()
    for budget, standing in zip(budgets, standings, strict=True):
        file = _file(output, selection, budget, len(budgets) > 1)
        _print(session.trained(budget), file, scales, standing, brief=len(budgets) > 1)


@dataclass
class _Session:
    """The trainings of one command; each is kept until the command ends, so that an interrupted one goes on where it was."""

    host: PluginHost
    model: Selection[ModelSpec]
    selection: Selection[SolverSpec]
    source: Source
    progress: TrainingProgress
    weights: Sequence[float] = ()

    def __post_init__(self) -> None:
        from bnsbench.suite.environment import cache_folder
        from bnsbench.suite.plan import digest

        made, source = self.source.model, self.source
        task: dict[str, object] = {"model": made.fingerprint(), "name": source.name, "dtype": str(made.dtype)}
        task |= {"guidance": source.guidance, "weights": list(self.weights)}
        task |= {"solver": self.selection.name, "version": self.selection.spec.version, "seed": source.seed}
        task |= {"tolerance": source.truth_tolerance}
        self.folder = cache_folder() / "training" / digest(task)
        self.known: dict[int, SolverArtefact] = {}

    def trained(self, budget: int) -> SolverArtefact:
        """Return the solver for a budget, trained now unless it has been."""
        if budget not in self.known:
            self.known[budget] = self._kept(budget) or self._train(budget)
        return self.known[budget]

    def forget(self) -> None:
        """Delete what an interrupted command would have gone on from."""
        import shutil

        shutil.rmtree(self.folder, ignore_errors=True)

    def _kept(self, budget: int) -> SolverArtefact | None:
        from bnsbench.nonstationary.artefact import SolverArtefact

        try:
            return SolverArtefact.load(self.folder / f"nfe{budget}.json")
        except BnsbenchError:  # not there, or cut off
            return None

    def _train(self, budget: int) -> SolverArtefact:
        from bnsbench.suite.trained import make_problem, train_solver

        checkpoint = self.folder / f"nfe{budget}.pt"
        problem = make_problem(
            self.source,
            self.host,
            previous=self.trained,
            progress=self.progress.training,
            checkpoint=checkpoint,
            provider=self.selection.spec.provider,
        )
        artefact = train_solver(self.selection, problem, budget)
        artefact.save(self.folder / f"nfe{budget}.json")
        return artefact


def _with(selection: Selection[SolverSpec], settings: dict[str, str | None]) -> Selection[SolverSpec]:
    """Return the selection with the settings that are not None; UsageError for one that the solver does not take."""
    from dataclasses import replace

    from bnsbench.plugins.selectors import select

    given = {key: value for key, value in settings.items() if value is not None}
    chosen = select(selection.spec, given).parameters
    return replace(selection, parameters={**selection.parameters, **{key: chosen[key] for key in given}})


def _budgets(text: str) -> list[int]:
    """Return the budgets that "8", "4,8" or "4-20" means, ascending."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise UsageError(f"--nfe takes numbers such as 8, 4,8,16 or 4-20, not {text!r}.")
        found |= set(range(int(first), int(last or first) + 1))
    if not found or min(found) < 1:
        raise UsageError(f"--nfe needs at least one budget of 1 or more, not {text!r}.")
    return sorted(found)


def _numbers(option: str, text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(f"{option} takes numbers such as 2 or 0,2,6, not {text!r}.") from error


def _check(selection: Selection[SolverSpec], budgets: Sequence[int], output: Path) -> None:
    from bnsbench.cli.components import check_budget

    if selection.spec.kind != "trained":
        raise UsageError(f"The solver {selection.name!r} is not a trained one; use it by its name.")
    if output.is_dir() and len(budgets) == 1:
        raise UsageError(f"{str(output)!r} is a folder: --output names the file for the solver.")
    if output.is_file() and len(budgets) > 1:
        raise UsageError(f"{str(output)!r} is a file: --output names the folder for several solvers.")
    for budget in budgets:
        check_budget(selection, budget)


def _file(output: Path, selection: Selection[SolverSpec], budget: int, several: bool) -> Path:
    return output / f"{selection.spec.name}_nfe{budget}.json" if several else output


Standings = list[tuple[str, list[float]]]
"""Solvers with their PSNR in dB on test noise at every guidance scale, the best on average first."""


def _standings(host: PluginHost, sources: Sequence[PairSource], artefact: SolverArtefact) -> Standings:
    from bnsbench.cli.components import Setting, find_solver

    model = sources[0].model
    standings = [(artefact.name, _psnr(sources, artefact.solver))]
    offered = {spec.name for spec in host.solvers if spec.provider == "builtin"}
    for name in CLASSICS:
        if name.partition("[")[0] not in offered:
            continue
        try:
            found = find_solver(host, f"builtin/{name}", artefact.solver.nfe, Setting(model.path, model.interval))
        except BnsbenchError:  # it cannot spend this NFE, or has no such grid on this path
            continue
        standings.append((name, _psnr(sources, found.sampler)))
    return sorted(standings, key=lambda row: -sum(row[1]))


def _psnr(sources: Sequence[PairSource], sampler: Sampler) -> list[float]:
    from bnsbench.flows.psnr import psnr_per_sample

    found = []
    for source in sources:
        pairs = source.pairs("test", TEST_SAMPLES)
        samples = sampler(pairs.field, pairs.x0.clone())
        found.append(float(psnr_per_sample(samples, pairs.x1, source.model.data_range).mean()))
    return found


def _print(artefact: SolverArtefact, output: Path, scales: Sequence[float], standings: Standings, *, brief: bool) -> None:
    from bnsbench.flows.mixed import guidance_in_words

    words = f"{artefact.model} at guidance {guidance_in_words(artefact.guidance)} and {artefact.solver.nfe} NFE"
    typer.echo(f"{artefact.name} for {words}: {output}")
    if artefact.training.get("stopped"):
        typer.echo(f"training stopped: {artefact.training['stopped']}")
    if artefact.training.get("rejected"):
        typer.echo(f"{artefact.training['rejected']} trial tables left the finite numbers and were rejected")
    several = len(scales) > 1
    columns = [f"PSNR in dB, {TEST_SAMPLES} test samples" + (f", w = {w:g}" if several else "") for w in scales]
    shown = [row for rank, row in enumerate(standings) if not brief or rank == 0 or row[0] == artefact.name or rank == 1]
    print_table(("solver", *columns), [[name, *(f"{value:.2f}" for value in values)] for name, values in shown])
