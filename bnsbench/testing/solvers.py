"""Checks of traced and direct solvers, on exact fields that count."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from bnsbench.flows.fields import VelocityField
from bnsbench.flows.measured import Meter
from bnsbench.nonstationary.tracing import NotTraceableError, trace
from bnsbench.testing.orders import order
from bnsbench.testing.problems import Case, guided_case
from bnsbench.testing.randomness import global_randomness, repeatable
from bnsbench.testing.report import Check, Verdict, failed, hint, passed
from bnsbench.testing.subjects import SolverSubject

SPLIT_TOLERANCE = 1e-9
_ROUNDING = 1e-11


def runs(subject: SolverSubject) -> Verdict:
    """Check that it returns finite states of the right shape on every path that it does not refuse."""
    for path, interval in subject.settings:
        case = guided_case(path, interval)
        x1 = subject.run(subject.nfe, case).x1
        if not isinstance(x1, Tensor) or x1.shape != case.x0.shape:
            shape = list(x1.shape) if isinstance(x1, Tensor) else type(x1).__name__
            return failed(f"For states {list(case.x0.shape)} it returns {shape}.", "Return end states of the shape of x0.")
        if not bool(x1.isfinite().all()):
            return failed(f"Its states are not finite on the {path.name} path.", "Look for a division by zero at an end.")
    return passed()


def budget(subject: SolverSubject) -> Verdict:
    """Check by the field's own count that it spends the budgets that it declares."""
    asked = subject.budgets()
    for nfe in asked:
        count = subject.run(nfe, subject.usual_case()).nfe
        if count != nfe:
            word = "overspends" if count > nfe else "underspends"
            remedy = "Call the field exactly nfe times, and declare in `budgets` which nfe it can spend."
            return failed(f"It {word}: asked for {nfe} evaluations, it used {count}.", remedy)
    return passed(f"It spends NFE {', '.join(map(str, asked))} exactly.")


def interval(subject: SolverSubject) -> Verdict:
    """Check that it evaluates the field inside the field's interval only."""
    for path, (begin, end) in subject.settings:
        times = subject.run(subject.nfe, guided_case(path, (begin, end))).times
        outside = [t for t in times if not begin - _ROUNDING <= t <= end + _ROUNDING]
        if outside:
            finding = f"It evaluates the field at t = {outside[0]:.6g}, outside of its interval [{begin:g}, {end:g}]."
            return failed(finding, "Take the times from field.interval, as `bnsbench.solvers.grids.time_grid` does.")
    return passed()


def deterministic(subject: SolverSubject) -> Verdict:
    """Check that two runs agree to the last bit, and that a run leaves what the one before has returned."""
    case = subject.usual_case()
    x1 = subject.run(subject.nfe, case).x1
    before = x1.clone()
    subject.run(subject.nfe, Case(case.field, -case.x0))
    if not torch.equal(x1, before):
        remedy = "Return a new tensor, or a clone of the one it works in."
        return failed("It returns the same memory at every run.", remedy)
    return repeatable(lambda: [subject.run(subject.nfe, subject.usual_case()).x1])


def batch_split(subject: SolverSubject) -> Verdict:
    """Check that a sample does not depend on the batch that it is in."""
    case = subject.usual_case()
    whole = subject.run(subject.nfe, case).x1
    parts = [subject.run(subject.nfe, case.part(index)).x1 for index in (slice(0, 1), slice(1, 3), slice(3, None))]
    gap = float((torch.cat(parts) - whole).abs().max())
    if gap <= SPLIT_TOLERANCE:
        return passed()
    remedy = "Compute every sample from its own values only, without norms, means or noise over the batch."
    return failed(f"In smaller batches the same samples differ by {gap:.1e}.", remedy)


def keeps_input(subject: SolverSubject) -> Verdict:
    """Check that the initial states are left as they were."""
    case = subject.usual_case()
    x0 = case.x0.clone()
    with torch.no_grad():
        subject.sample(subject.nfe, Meter(case.field, x0).field, x0)
    if torch.equal(x0, case.x0):
        return passed()
    return failed("It overwrites its input x0.", "Write x = x + ... in place of x += ..., or clone x0 first.")


def random_state(subject: SolverSubject) -> Verdict:
    """Check that it neither moves nor needs the global random states."""
    return global_randomness(lambda: lambda: [subject.run(subject.nfe, subject.usual_case()).x1])


def precision(subject: SolverSubject) -> Verdict:
    """Check that states keep their precision and their device."""
    remedy = "Bring times and coefficients to the states' precision and device, as by `.to(x0)`."
    for device in ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]:
        for dtype in (torch.float32, torch.float64):
            case = subject.usual_case(device)
            start = Case(case.field, case.x0.to(dtype))
            run = subject.run(subject.nfe, start)
            if run.x1.device != start.x0.device:
                return failed(f"States on {start.x0.device} end on {run.x1.device}.", remedy)
            wrong = [found for found in (*run.dtypes, run.x1.dtype) if found != dtype]
            if wrong:
                return failed(f"States in {dtype} become {wrong[0]}.", remedy)
    return passed()


def table(subject: SolverSubject) -> Verdict:
    """Check that a traced solver can be traced, and tell whether a direct one could be."""
    direct = subject.spec.kind == "direct"
    try:
        for path, ends in subject.settings:
            trace(partial(_sampler, subject), path, ends)
    except NotTraceableError as error:
        if direct:
            return passed(f"It is declared direct. {error}")
        return failed(str(error), "Make it linear in x0 and the field's values, or declare kind='direct'.")
    if direct:
        remedy = "Declare kind='traced': then one engine runs it, and training can start from it."
        return hint("It is declared direct, but it has a table of coefficients.", remedy)
    return passed()


SOLVER_CHECKS: Mapping[str, Check[SolverSubject]] = {
    "runs": runs,
    "budget": budget,
    "interval": interval,
    "deterministic": deterministic,
    "batch split": batch_split,
    "input": keeps_input,
    "random state": random_state,
    "precision": precision,
    "order": order,
    "table": table,
}


def _sampler(subject: SolverSubject, field: VelocityField, x0: Tensor) -> Tensor:
    return subject.sample(subject.nfe, field, x0)
