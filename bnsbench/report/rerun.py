"""Running cells again for a verification: with the solvers that lie among the results, or with solvers trained again."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bnsbench.contract import PluginHost
from bnsbench.errors import NotApplicableError, one_line
from bnsbench.flows.precision import dtype_named
from bnsbench.models.shipped import shipped_solver
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.process.machine import cache_folder, choose_device, threads
from bnsbench.report.agreement import differences, retrained_differences
from bnsbench.solvers.students import student_of
from bnsbench.suite.context import Job
from bnsbench.suite.environment import code_fingerprint
from bnsbench.suite.executors import LocalExecutor, worth_processes
from bnsbench.suite.plan import Cell
from bnsbench.suite.processes import ProcessExecutor
from bnsbench.suite.progress import RunListener
from bnsbench.suite.record import Record, model_key
from bnsbench.suite.store import ResultStore
from bnsbench.suite.suitefile import read_suite

if TYPE_CHECKING:
    from bnsbench.flows.model import Model
    from bnsbench.suite.executors import Executor

Compare = Callable[[Record, Record], Iterable[str]]


def job_of(store: ResultStore, host: PluginHost, device: str) -> Job:
    """Return the settings under which the cells of a results folder are run again: nothing is trained or written."""
    suite = read_suite(store.suite_file)
    return Job(
        host=host,
        store=store,
        cache=cache_folder(),
        batch=suite.batch,
        threads=threads(),
        device=choose_device(device),
        timeout=suite.timeout,
        train=False,
        previews=False,
    )


def run_again(cells: Sequence[Cell], records: Mapping[str, Record], job: Job, listener: RunListener) -> Iterator[str]:
    """Run cells, as long as it takes, and yield how they differ from their records."""
    yield from _compared(_executor(cells, job), cells, records, replace(job, timeout=None), listener, differences)


def run_apart(cells: Sequence[Cell], records: Mapping[str, Record], job: Job, listener: RunListener) -> Iterator[str]:
    """Run cells that have failed once and may end a process, in another one, and yield how they differ."""
    yield from _compared(ProcessExecutor(1), cells, records, job, listener, differences)


def train_apart(cells: Sequence[Cell], records: Mapping[str, Record], job: Job, listener: RunListener) -> Iterator[str]:
    """Run cells that were skipped before their solver was trained, as `run_apart`, and keep nothing of their trainings.

    That a trained solver cannot spend a budget is known from its training, which ends at once where that is true.
    """
    with tempfile.TemporaryDirectory() as folder:
        again = replace(job, store=ResultStore(Path(folder) / "skipped"), train=True)
        yield from _compared(ProcessExecutor(1), cells, records, again, listener, differences)


def train_again(cells: Sequence[Cell], records: Mapping[str, Record], job: Job, listener: RunListener) -> Iterator[str]:
    """Train the solvers of cells again, run the cells with them, and yield how they differ from their records.

    What has been trained is kept in the cache until all cells are done, so that an interrupted verification goes on there.
    """
    text = job.store.suite_file.read_bytes() + code_fingerprint().encode()
    store = ResultStore(job.cache / "verify" / hashlib.sha256(text).hexdigest()[:32])
    again = replace(job, store=store, timeout=None, train=True, retrain=True)
    yield from _compared(_executor(cells, again), cells, records, again, listener, retrained_differences)
    shutil.rmtree(store.folder, ignore_errors=True)


def _executor(cells: Sequence[Cell], job: Job) -> Executor:
    return ProcessExecutor() if worth_processes(job.device, len(cells)) else LocalExecutor()


def _compared(
    executor: Executor,
    cells: Sequence[Cell],
    records: Mapping[str, Record],
    job: Job,
    listener: RunListener,
    compare: Compare,
) -> Iterator[str]:
    listener.planned(cells, cells)
    for cell, record in executor.execute(cells, job, listener):
        listener.finished(cell, record)
        try:
            yield from compare(records[cell.key], record)
        except Exception as error:  # noqa: BLE001 (a record may hold anything where a number is expected)
            yield f"The record of {cell.key} cannot be compared: {type(error).__name__}: {one_line(error)}."


def model_faults(cells: Sequence[Cell], records: Mapping[str, Record], job: Job) -> Iterator[str]:
    """Make every model once, and yield which records and solver files are of another one, whether run again or not.

    Args:
        cells: Those that can be run here.
        records: Theirs, by key.
        job: The settings of the verification.
    """
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(model_key(cell.content), []).append(cell)
    for group in groups.values():
        first = group[0]
        try:
            made: Model = job.host.model(first.model.selector).make()
            model = made.to("cpu", dtype_named(first.dtype, made.dtype))
            fingerprint = model.fingerprint()
        except Exception:  # noqa: BLE001, S112 (what a plugin raises is told by the cells that are run again)
            continue
        for cell in group:
            yield from _of_another_model(cell, records[cell.key], model, fingerprint, job.store)


def absent_students(cells: Sequence[Cell], host: PluginHost) -> dict[str, str]:
    """Return the keys of those cells of distilled solvers whose students are not here, and why they are not."""
    found: dict[str, str] = {}
    models: dict[str, Model] = {}
    for cell in (cell for cell in cells if cell.kind == "distilled"):
        try:
            if cell.model.selector not in models:
                models[cell.model.selector] = host.model(cell.model.selector).make()
            student_of(host.solver(cell.solver.selector), models[cell.model.selector], cell.guidance, cell.nfe)
        except NotApplicableError as error:
            found[cell.key] = one_line(error)
        except Exception:  # noqa: BLE001, S112 (what a plugin raises is told by the cells that are run again)
            continue
    return found


def _of_another_model(cell: Cell, record: Record, model: Model, fingerprint: str, store: ResultStore) -> Iterator[str]:
    """Yield in what a record and its solver file are not of the model."""
    said = record.model.get("fingerprint")
    if said is not None and said != fingerprint:
        yield f"{record.key}: the record is of another version of the model, {str(said)[:12]}; here is {fingerprint[:12]}."
    name = record.solver.get("file")
    if name is None:
        return
    try:
        artefact = SolverArtefact.load(store.solvers / str(name))
    except Exception:  # noqa: BLE001 (told by the checks of the files)
        return
    file = store.solvers / str(name)
    if artefact.path != model.path or tuple(artefact.interval) != tuple(model.interval):
        yield (
            f"The solver file {file} was made for the path {artefact.path.name} on {list(artefact.interval)}, which is not"
            " that of its model."
        )
    if artefact.model != cell.model.name:
        yield f"The solver file {file} names the model {artefact.model!r}, but its cell is of {cell.model.name!r}."
    if artefact.training.get("shipped") and not _is_shipped(artefact, cell, model):
        yield f"The solver file {file} is said to come with the package, but the package has no such solver."


def _is_shipped(artefact: SolverArtefact, cell: Cell, model: Model) -> bool:
    """Return whether the package ships just this table for the cell."""
    ours = shipped_solver(cell.model.shown, model, cell.guidance, cell.solver.shown, cell.nfe, cell.solver.version)
    return ours is not None and ours.solver.fingerprint() == artefact.solver.fingerprint()
