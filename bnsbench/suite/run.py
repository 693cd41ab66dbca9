"""Running a suite: resolve it, find what is done, run the rest, keep every record the moment it exists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from bnsbench.contract import PluginHost
from bnsbench.errors import BnsbenchError, UsageError
from bnsbench.process import clock
from bnsbench.process.interrupts import exits_refused
from bnsbench.process.machine import cache_folder, choose_device, threads
from bnsbench.process.surroundings import guarded
from bnsbench.storage.files import make_way, remove_leftovers, try_cache
from bnsbench.suite import environment
from bnsbench.suite.command import command_of, commands_with
from bnsbench.suite.executors import AUTO, Executor, worth_processes
from bnsbench.suite.failures import ContainedError, contained
from bnsbench.suite.finished import Finished, finished
from bnsbench.suite.plan import Cell, make_plan
from bnsbench.suite.processes import leave_if_starting
from bnsbench.suite.progress import RunListener
from bnsbench.suite.record import RETRIED, Record, skipped_record
from bnsbench.suite.shards import Shard
from bnsbench.suite.store import ResultStore, storage_errors
from bnsbench.suite.suitefile import OVERRIDABLE, Suite, find_suite, override
from bnsbench.suite.timings import PLANNING, RUNNING, STARTING, WRITING, Timings, timings_of

RESULTS = Path("runs")


Names = str | Sequence[str]
Numbers = float | Sequence[float]
Counts = int | Sequence[int]


@dataclass(frozen=True)
class RunOptions:
    """The options of a run. A single value, or a text such as "euler,heun", stands for a list; None for what the suite says.

    suite: its name or TOML file.
    models, solvers, metrics: selectors.
    nfe: budgets.
    guidance: scales w of every model.
    seed: of every noise stream.
    samples: of every cell.
    batch: samples per network evaluation, which changes no result.
    timeout: seconds after which a cell is given up.
    dtype: precision of every model.
    device: "auto", "cpu", "cuda" or "cuda:<i>".
    executor: a selector, or "auto": worker processes where there are several cores or devices and enough to do. Programs
        that use processes need the usual ``if __name__ == "__main__"``, so "local" is the default here.
    workers: of the executor "processes".
    results: the folder in which the suite's own folder lies.
    fresh: run finished cells and training again.
    retrain: train solvers also where the package ships them.
    deterministic: let torch use deterministic algorithms alone; cells that need another one fail.
    trust_records: do not compare the fingerprints of models and metrics' files with those in the records.
    shard: "INDEX/COUNT", of many processes or machines that share the suite; see `bnsbench.suite.shards`.
    """

    suite: str | Path = "default"
    models: Names | None = None
    solvers: Names | None = None
    nfe: Counts | None = None
    guidance: Numbers | None = None
    metrics: Names | None = None
    seed: int | None = None
    samples: int | None = None
    batch: int | None = None
    timeout: float | None = None
    dtype: str | None = None
    device: str = "auto"
    executor: str = "local"
    workers: int | None = None
    results: str | Path = RESULTS
    fresh: bool = False
    retrain: bool = False
    deterministic: bool = False
    trust_records: bool = False
    shard: str | None = None

    def overrides(self) -> dict[str, Any]:
        """Return the options that replace what the suite says, for `bnsbench.suite.suitefile.override`."""
        names = [field.name for field in fields(self) if field.name in OVERRIDABLE]
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


@dataclass(frozen=True)
class RunPlan:
    """A resolved suite, the cells to run and where their results lie.

    whole: all cells of the suite, of which a shard runs only some.
    """

    suite: Suite
    cells: tuple[Cell, ...]
    store: ResultStore
    whole: tuple[Cell, ...]


@dataclass(frozen=True)
class RunOutcome:
    """The outcome of a run: the results folder, cells by status, how many of them were run now, and failed records.

    missing: cells of other shards of which there is no record in the folder.
    timings: what its time went to.
    """

    folder: Path
    counts: Mapping[str, int]
    ran: int
    failures: Sequence[Record] = field(default=(), repr=False)
    missing: int = 0
    timings: Timings = field(default=Timings(0.0), repr=False)

    @property
    def exit_code(self) -> int:
        """1 if any cell has failed or timed out, else 0."""
        return 1 if self.failures else 0

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome as JSON-like data."""
        return {
            "results": str(self.folder),
            "counts": dict(self.counts),
            "ran": self.ran,
            "missing": self.missing,
            "failures": [{"cell": record.key, "status": record.status, "reason": record.reason} for record in self.failures],
            "exit_code": self.exit_code,
            "timings": self.timings.to_dict(),
        }


def plan_run(options: RunOptions, host: PluginHost) -> RunPlan:
    """Return the plan of a run, without writing anything; UsageError if an option or the suite is not valid."""
    suite = override(find_suite(str(options.suite), host), **options.overrides())
    _make_executor(options, host)
    shard = None if options.shard is None else Shard.parse(options.shard)
    whole = make_plan(suite, host)
    # One folder from the start, wherever a component goes.
    store = ResultStore(Path(options.results).absolute() / suite.name)
    return RunPlan(suite, whole if shard is None else shard.of(whole), store, whole)


def run_suite(options: RunOptions, host: PluginHost, listener: RunListener) -> RunOutcome:
    """Run the cells of a suite that are not finished and return the outcome of all.

    Whatever ends the run, finished cells are kept, and the same call goes on with the rest.

    Args:
        options: The suite and what replaces its settings.
        host: The plugins.
        listener: Hears of the cells and their progress.

    Raises:
        UsageError: If an option or the suite is not valid.
        StorageError: If results cannot be written.
    """
    leave_if_starting()
    with clock.ticking() as ticking:
        outcome, ran = _run(options, host, listener)
    return replace(outcome, timings=timings_of(ticking, ran))


def _run(options: RunOptions, host: PluginHost, listener: RunListener) -> tuple[RunOutcome, Sequence[Record]]:
    """Run a suite; return the outcome, and the records of the cells that were run now."""
    with clock.phase(PLANNING):
        plan, there = _begin(options, host, listener)
    records, pending = dict(there.records), there.pending(plan.cells)
    listener.planned(plan.cells, pending)
    ran = []
    for cell, record in clock.each(RUNNING, _run_all(pending, plan, options, host, listener)):
        with clock.phase(WRITING):
            plan.store.write(record)
        records[cell.key] = record
        ran.append(record)
        listener.finished(cell, record)
        with guarded(), exits_refused():
            host.cell_finished(record.to_dict())
    left = sum(cell.key not in records for cell in plan.cells)
    if left:
        raise BnsbenchError(f"The executor {options.executor} has ended without a record of {left} cells: run them again.")
    return _outcome(plan, records, len(pending)), ran


def _begin(options: RunOptions, host: PluginHost, listener: RunListener) -> tuple[RunPlan, Finished]:
    """Return the plan, now in its folder, and what of it is finished."""
    plan = plan_run(options, host)
    there = find_finished(plan, options, host, listener)
    remove_leftovers(plan.store.folder)
    plan.store.begin(plan.suite.to_toml(), plan.whole, there.versions)
    for file in there.damaged:
        plan.store.set_aside(file)
    if options.fresh:
        _forget(plan)
    return plan, there


def find_finished(plan: RunPlan, options: RunOptions, host: PluginHost, listener: RunListener) -> Finished:
    """Return the cells that a run with these options would not run again; `run_suite` asks the same.

    Args:
        plan: From `plan_run` with the same options.
        options: Those of the run.
        host: The plugins.
        listener: Hears of records that do not count.
    """
    if options.fresh:
        return Finished({})
    return finished(plan.cells, plan.store, host, listener, retrain=options.retrain, trust=options.trust_records)


def _run_all(
    pending: Sequence[Cell], plan: RunPlan, options: RunOptions, host: PluginHost, listener: RunListener
) -> Iterator[tuple[Cell, Record]]:
    """Yield every pending cell with its record; nothing heavy is imported for those that are skipped."""
    yield from ((cell, skipped_record(cell)) for cell in pending if cell.skip is not None)
    rest = [cell for cell in pending if cell.skip is None]
    if not rest:
        return
    cache = cache_folder()
    try_cache(cache)
    remove_leftovers(cache)
    with clock.phase(STARTING):
        _try_metrics(rest, host)
        from bnsbench.suite.context import Job  # noqa: PLC0415 (loads torch)

        commands = commands_with(command_of(options), plan.store.environment_file)
        told = {**environment.describe(host), "commands": commands}
        plan.store.write_environment(told, among_others=options.shard is not None)
    job = Job(
        host=host,
        store=plan.store,
        cache=cache,
        batch=plan.suite.batch,
        threads=threads(),
        device=choose_device(options.device),
        timeout=plan.suite.timeout,
        retrain=options.retrain,
        deterministic=options.deterministic,
    )
    yield from _make_executor(options, host, job.device, len(rest)).execute(rest, job, listener)


def _try_metrics(cells: Sequence[Cell], host: PluginHost) -> None:
    """Make the metrics that were given parameters: UsageError tells of a missing file before anything is computed."""
    chosen = {metric.selector: host.metric(metric.selector) for cell in cells for metric in cell.metrics}
    for selection in chosen.values():
        if dict(selection.parameters) != dict(selection.spec.parameters):
            try:
                with contained():
                    selection.make()
            except ContainedError as error:  # what else a plugin's metric raises is the fault of its cells
                if isinstance(error.__cause__, UsageError):
                    raise error.__cause__ from None


def _make_executor(options: RunOptions, host: PluginHost, device: str = "cpu", cells: int = 0) -> Executor:
    selector = options.executor
    if selector == AUTO.name:
        selector = "processes" if options.workers or worth_processes(device, cells) else "local"
    if options.workers is not None:
        if selector != "processes":
            raise UsageError("A number of workers goes with the executor 'processes' only.")
        selector = f"processes[workers={options.workers}]"
    executor: Executor = host.executor(selector).make()
    return executor


def _forget(plan: RunPlan) -> None:
    """Remove the records and trained solvers of the planned cells."""
    for cell in plan.cells:
        plan.store.forget(cell.key)
    if any(cell.trained for cell in plan.cells):
        from bnsbench.suite.trained import solver_key  # noqa: PLC0415 (loads torch)

        with storage_errors(plan.store.solvers):
            for cell in plan.cells:
                make_way(plan.store.solver_file(solver_key(cell)))
                plan.store.solver_file(solver_key(cell)).unlink(missing_ok=True)


def _outcome(plan: RunPlan, records: Mapping[str, Record], ran: int) -> RunOutcome:
    kept = [records[cell.key] for cell in plan.cells]
    counts = Counter(record.status for record in kept)
    failures = [record for record in kept if record.status in RETRIED]
    missing = len({cell.key for cell in plan.whole} - records.keys() - plan.store.kept_files())
    return RunOutcome(plan.store.folder, {str(status): count for status, count in counts.items()}, ran, failures, missing)
