"""A loaded solver on a device that refuses float64, as Apple's GPUs do: nothing asks for it there.

The device is one of torch's fake ones, whose tensors have shapes and types but no numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bnsbench.flows.model import Model
from bnsbench.flows.paths import EDM, VP, CondOT, Path
from bnsbench.flows.precision import has_float64
from bnsbench.flows.predictions import Prediction
from bnsbench.nonstationary.artefact import SolverArtefact, load_solver
from bnsbench.nonstationary.table import NonStationarySolver

DEVICE = "cuda"  # torch can imagine no other on every machine


class Refusal(TorchDispatchMode):
    """Refuses every float64 tensor on the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(found):
            if isinstance(leaf, Tensor) and leaf.device.type == DEVICE and leaf.dtype == torch.float64:
                raise TypeError(f"Cannot convert a tensor to float64 on {DEVICE}: {func}")
        return found


class Plain(Model):
    """A network that multiplies by the time, on whatever device it is."""

    dtype, shape, data_range = torch.float32, (8,), 2.0

    def __init__(self, path: Path, prediction: Prediction) -> None:
        self.path, self.prediction, self.interval = path, prediction, (0.01, 0.99)

    def predict(self, t: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        scale = t.to(x.dtype).reshape(-1, *(1,) * (x.ndim - 1))
        return x * scale if condition is None else x * scale + condition[:, None]

    def null_condition(self, condition: Tensor) -> Tensor:
        return torch.zeros_like(condition)

    def fingerprint(self) -> str:
        return "plain"


@pytest.fixture
def refusing() -> Iterator[None]:
    has_float64.cache_clear()
    with FakeTensorMode(allow_non_fake_inputs=True), Refusal():
        yield
    has_float64.cache_clear()


@pytest.fixture
def file(tmp_path: FilePath) -> FilePath:
    n = 4
    times = torch.linspace(0.01, 0.99, n + 1, dtype=torch.float64)
    table = NonStationarySolver(times, torch.ones(n), torch.full((n, n), 0.25).tril())
    SolverArtefact(table, CondOT(), (0.01, 0.99), "plain", "plain", 0.0, "bns").save(tmp_path / "bns.json")
    return tmp_path / "bns.json"


@pytest.mark.usefixtures("refusing")
def test_the_device_refuses_float64() -> None:
    with pytest.raises(TypeError, match="float64"):
        torch.zeros(3, dtype=torch.float64, device=DEVICE)
    with pytest.raises(TypeError, match="float64"):
        torch.zeros(3, device=DEVICE).double()
    assert not has_float64(torch.device(DEVICE))


@pytest.mark.parametrize("guidance", [0.0, 2.0])
@pytest.mark.parametrize("prediction", ["velocity", "epsilon", "x", "v"])
@pytest.mark.parametrize("path", [CondOT(), VP(), EDM()], ids=lambda path: path.name)
def test_a_loaded_solver_asks_for_none(
    file: FilePath, path: Path, prediction: Prediction, guidance: float, request: pytest.FixtureRequest
) -> None:
    solver = load_solver(file)
    request.getfixturevalue("refusing")
    x0 = torch.zeros(3, 8, device=DEVICE)
    condition = torch.zeros(3, device=DEVICE) if guidance else None
    field = Plain(path, prediction).field(condition, guidance)
    end = solver(field, x0)
    assert (end.device.type, end.dtype, end.shape) == (DEVICE, torch.float32, x0.shape)
