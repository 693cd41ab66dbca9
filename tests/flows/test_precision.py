from __future__ import annotations

import pytest
import torch

from bnsbench.flows import paths, precision
from bnsbench.flows.fields import FunctionField
from bnsbench.flows.paths import CondOT, as_time
from bnsbench.flows.precision import dtype_named, has_float64, time_dtype, times_on
from bnsbench.truth.ground_truth import solve, solve_each
from tests.flows.toy import GaussianModel

CPU = torch.device("cpu")


def test_the_cpu_has_float64() -> None:
    assert has_float64(CPU)
    assert time_dtype(CPU) == torch.float64


def test_a_device_that_refuses_float64_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*size: object, dtype: torch.dtype, device: torch.device) -> None:
        raise TypeError(
            f"Cannot convert a {device.type.upper()} Tensor to {dtype} as the framework doesn't support float64."
        )

    monkeypatch.setattr(torch, "empty", refuse)
    assert not has_float64.__wrapped__(torch.device("mps"))


@pytest.fixture
def no_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every device say that it has no float64."""
    for module in (precision, paths):
        monkeypatch.setattr(module, "has_float64", lambda device: False)


@pytest.mark.usefixtures("no_float64")
def test_times_become_float32_where_there_is_no_float64() -> None:
    times = torch.tensor([0.1, 0.7], dtype=torch.float64)
    assert times_on(times, CPU).dtype == torch.float32


@pytest.mark.usefixtures("no_float64")
def test_paths_compute_in_float64_for_times_of_a_device_without_it() -> None:
    t = torch.tensor(0.3, requires_grad=True)
    assert as_time(t).dtype == torch.float64
    (slope,) = torch.autograd.grad(CondOT().alpha(t), t)
    assert float(slope) == 1.0


@pytest.mark.usefixtures("no_float64")
def test_the_ground_truth_is_solved_with_float32_times() -> None:
    model, labels = GaussianModel(), torch.tensor([0, 1])
    seen: set[torch.dtype] = set()

    def velocity(t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        seen.update((t.dtype, x.dtype))
        return model.predict(t, x.double(), labels).float()

    field, x0 = FunctionField(velocity, CondOT()), torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    end, _ = solve(field, x0, 1e-5)
    torch.testing.assert_close(end.double(), model.flow(x0.double(), labels), rtol=0, atol=1e-4)
    trajectory = solve_each(field, x0, 1e-5, points=5).trajectory(field)
    torch.testing.assert_close(trajectory.x[-1], end, rtol=0, atol=1e-4)
    assert seen == {torch.float32}


def test_precisions_by_name() -> None:
    assert dtype_named("bfloat16", torch.float64) == torch.bfloat16
    assert dtype_named(None, torch.float64) == dtype_named("", torch.float64) == torch.float64
