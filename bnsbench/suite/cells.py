"""Running one cell: the function that every executor calls."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bnsbench._version import __version__
from bnsbench.errors import BnsbenchError, DivergedError, NotApplicableError, raised_by
from bnsbench.flows.model import ModelField
from bnsbench.metrics.base import PART
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.process import clock
from bnsbench.process.determinism import deterministic
from bnsbench.process.interrupts import interrupts_told
from bnsbench.process.surroundings import guarded
from bnsbench.solvers.samplers import Sampler, run_metered, sampler_of
from bnsbench.solvers.students import Student, student_of
from bnsbench.suite.context import CellContext, FieldState, Job
from bnsbench.suite.failures import FaultyMetricsError, raise_if_disk_is_full, reason_of, status_of
from bnsbench.suite.judging import JudgedSamples, untouched
from bnsbench.suite.plan import Cell
from bnsbench.suite.previews import write_preview
from bnsbench.suite.record import KINDS, Draft, Record, RecordedEnvironment
from bnsbench.suite.record_shape import Status
from bnsbench.suite.scoring import score
from bnsbench.suite.store import StorageError, storage_errors
from bnsbench.suite.trained import solver_key
from bnsbench.training.trainer import checked_training
from bnsbench.truth.noise import stream_seed
from bnsbench.truth.pairs import HeldOut


def run_cell(cell: Cell, context: CellContext) -> Record:
    """Run a cell and return its record, also where it fails; only StorageError and the user's interrupts are raised.

    Whatever its components print goes to stderr, and what they change in the process is put back.
    """
    began = time.perf_counter()
    draft = Draft(cell)
    with clock.ticking() as ticking, deterministic(context.job.deterministic), guarded():
        status, reason = _attempt(cell, context, draft)
    draft.seconds |= {"spent": _rounded(ticking.seconds), "network": _rounded(ticking.network_seconds())}
    draft.seconds["total"] = round(time.perf_counter() - began, 3)
    return draft.finish(status, reason)


def _attempt(cell: Cell, context: CellContext, draft: Draft) -> tuple[Status, str]:
    """Run the cell, filling in the draft of its record as facts become known; return status and reason."""
    with interrupts_told() as interrupts:
        try:
            draft.environment = _environment(context.job)
            _seed(cell)
            try:
                _run(cell, context, draft)
            finally:
                _add_memory(draft)
        except StorageError:
            raise
        except BaseException as error:
            if interrupts.by_user(error):
                raise
            raise_if_disk_is_full(error, context.job.cache)
            return status_of(error), reason_of(error, cell)
    return "ok", ""


def _run(cell: Cell, context: CellContext, draft: Draft) -> None:
    if cell.skip is not None:
        raise NotApplicableError(cell.skip)
    state = context.field_state(cell)
    # Before the truth, which may diverge: a record without it would answer for whatever the model becomes.
    draft.model = {"fingerprint": state.model.fingerprint(), "dtype": str(state.model.dtype).removeprefix("torch.")}
    pairs = state.test_pairs(cell.samples)
    draft.truth = {"tolerance": cell.tolerance, "ceiling": round(state.ceiling, 3), "nfe": round(pairs.nfe, 3)}
    with raised_by("solver"), guarded(), interrupts_told():
        with untouched(cell, context, state):
            sampler, student = _sampling(cell, context, state, draft)
            field = pairs.field if student is None else student.field(pairs.field)
            with clock.phase("sampling"):
                samples = _sample(cell, context.job, pairs, sampler, field)
        draft.nfe = samples.nfe
        draft.forwards = samples.nfe * field.forwards_per_evaluation
        draft.seconds["sampling"] = samples.seconds
        _check(cell, samples)
    _judge(cell, context, samples.x, draft)


def _sampling(cell: Cell, context: CellContext, state: FieldState, draft: Draft) -> tuple[Sampler, Student | None]:
    """Return the cell's sampler, a table wherever there is one, and the student whose field it evaluates if it is one's."""
    if cell.trained:
        return _trained(cell, context, state, draft), None
    selection = context.job.host.solver(cell.solver.selector)
    if cell.kind == "distilled":
        student = student_of(selection, state.model, cell.guidance, cell.nfe)
        draft.train_forwards = sum(student.forwards.values())
        draft.solver = {
            "kind": KINDS[cell.kind],
            "fingerprint": student.model.fingerprint(),
            "forwards": student.forwards,
            "parameters": student.parameters,
            "examples": student.images,
        }
        return student.sampler(cell.nfe), student
    draft.train_forwards = 0
    draft.solver = {"kind": KINDS[cell.kind]}
    sampler = sampler_of(selection, cell.nfe, state.model.path, state.model.interval)
    if isinstance(sampler, NonStationarySolver):
        draft.solver["fingerprint"] = sampler.fingerprint()
    return sampler, None


def _trained(cell: Cell, context: CellContext, state: FieldState, draft: Draft) -> NonStationarySolver:
    """Return the table that is trained or tuned for the cell, now unless that has been done."""
    artefact = context.solvers(state).get(cell, context.job.host.solver(cell.solver.selector))
    training = checked_training(artefact.training)
    draft.solver = {
        "kind": KINDS[cell.kind],
        "grid": training.grid,
        "rule": training.rule,
        "fingerprint": artefact.solver.fingerprint(),
        "file": f"{solver_key(cell)}.json",
        "forwards": training.forwards,
        "psnr": training.psnr,
    }
    if training.parameters is not None:
        draft.solver["parameters"] = training.parameters
    if training.examples is not None:
        draft.solver["examples"] = training.examples
    if artefact.training.get("shipped"):
        draft.solver["shipped"] = True
    draft.train_forwards = sum(training.forwards.values())
    draft.seconds["training"] = round(training.seconds, 3)
    return artefact.solver


def _judge(cell: Cell, context: CellContext, x: Tensor, draft: Draft) -> None:
    """Compute the metrics of the end states x [n, ...]; FaultyMetricsError names those that failed."""
    context.listener.stage("metrics")
    judged = JudgedSamples(cell, context, x)
    judged.samples.require_finite(decoded=True)
    if context.job.previews:
        folder = context.job.store.previews
        with storage_errors(folder), clock.phase("previews"):
            write_preview(judged.samples, context.modality(cell), folder, cell.key)
    with clock.phase("metrics"):
        scored = score(cell.metrics, judged.metric, judged.samples)
    draft.metrics, draft.per_sample, draft.replicates = scored.scores, scored.per_sample, scored.replicates
    if scored.faults:
        raise FaultyMetricsError(scored.faults)


@dataclass(frozen=True)
class Samples:
    """End states x [n, ...], the NFE of each sample (the first that is wrong, if any), and seconds per sample."""

    x: Tensor
    nfe: int
    seconds: float


def _sample(cell: Cell, job: Job, pairs: HeldOut, sampler: Sampler, field: ModelField) -> Samples:
    _synchronise(job.device)
    began = time.perf_counter()
    states, nfe = run_metered(sampler, field, pairs.x0, cell.nfe, job.batch)
    _synchronise(job.device)
    return Samples(states, nfe, (time.perf_counter() - began) / len(pairs))


def _check(cell: Cell, samples: Samples) -> None:
    """Raise unless the sampler has kept its budget and returned finite states."""
    if samples.nfe != cell.nfe:
        word = "overspent" if samples.nfe > cell.nfe else "underspent"
        raise BnsbenchError(f"{word}: it used {samples.nfe} evaluations instead of {cell.nfe}")
    bad = sum(int((~part.isfinite().flatten(1).all(1)).sum()) for part in torch.split(samples.x, PART))
    if bad:
        raise DivergedError(f"{bad} of {len(samples.x)} samples are not finite")


def _environment(job: Job) -> RecordedEnvironment:
    found: RecordedEnvironment = {
        "bnsbench": __version__,
        "torch": torch.__version__,
        "device": job.device,
        "threads": job.threads,
    }
    if job.deterministic:
        found["deterministic"] = True
    if job.device.startswith("cuda"):
        found["device_name"] = torch.cuda.get_device_name(job.device)
        torch.cuda.reset_peak_memory_stats(job.device)
    return found


def _add_memory(draft: Draft) -> None:
    """Add the most memory that torch has taken of the CUDA device since the environment was told."""
    if "device_name" in draft.environment:
        draft.environment["peak_memory"] = torch.cuda.max_memory_allocated(draft.environment["device"])


def _rounded(seconds: Mapping[str, float]) -> dict[str, float]:
    return {phase: rounded for phase, found in seconds.items() if (rounded := round(found, 4))}


def _synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def _seed(cell: Cell) -> None:
    """Seed the random states of torch, NumPy and Python by the cell's key, so that a stochastic solver repeats itself."""
    seed = stream_seed("cell", cell.key)
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 (what plugins may use)
    random.seed(seed)
