from __future__ import annotations

import shutil
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bnsbench.errors import NotApplicableError, UsageError
from bnsbench.flows.fields import FunctionField
from bnsbench.flows.paths import CondOT
from bnsbench.nonstationary import compiled as compiling
from tests.flows.toy import GaussianModel
from tests.nonstationary.test_engine import field, random_solver, velocity
from tests.training.toys import random_split_table

X0 = torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(0))
OTHER = torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def quick(monkeypatch):
    """Trace as ever and run what was traced as it is, without a compiler of C++."""
    monkeypatch.setattr(compiling, "BACKEND", "eager")
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("how", ["network", "sampler"])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_a_compiled_table_gives_the_same_samples(quick, how, dtype, close):
    table = random_solver(4)
    found = table.compiled(field(), X0.to(dtype), how)
    assert (found.how, found.reason) == (how, "")
    kept = OTHER.to(dtype)
    end, expected = found(kept), table(field(), kept)
    assert end.dtype == dtype
    assert float((end - expected).abs().max() / expected.abs().max()) < close
    assert torch.equal(kept, OTHER.to(dtype))


@pytest.mark.parametrize("how", ["network", "sampler"])
def test_models_with_conditions_and_guidance_can_be_compiled(quick, how):
    model = GaussianModel()
    velocity = model.field(model.conditions(torch.arange(4)), 2.0)
    x0 = torch.randn(4, *model.shape, dtype=model.dtype)
    table = random_solver(3)
    torch.testing.assert_close(table.compiled(velocity, x0, how, strict=True)(x0), table(velocity, x0))


@pytest.mark.parametrize("how", ["network", "sampler"])
def test_tables_of_split_columns_can_be_compiled(quick, how):
    model = GaussianModel()
    table = random_split_table(3, guidance=2.0)
    velocity = model.field(model.conditions(torch.arange(4)), 2.0)
    x0 = torch.randn(4, *model.shape, dtype=model.dtype)
    torch.testing.assert_close(table.compiled(velocity, x0, how, strict=True)(x0), table(velocity, x0))


@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a compiler of C++")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch by torch
def test_inductor_compiles_it():
    torch._dynamo.reset()
    table = random_solver(2)
    found = table.compiled(field(), X0, "sampler", strict=True)
    torch.testing.assert_close(found(OTHER), table(field(), OTHER))
    assert found.difference < 1e-5
    torch._dynamo.reset()


def test_the_network_is_traced_once_and_not_for_every_time(quick):
    torch._dynamo.utils.counters.clear()
    random_solver(6).compiled(field(), X0, "network", strict=True)(OTHER)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def untraceable(t, x):
    if float(x.sum()) > 1e9:  # asks for a number in the middle
        return x
    return velocity(t, x)


@pytest.mark.parametrize("how", ["network", "sampler"])
def test_what_cannot_be_traced_runs_as_it_is_and_says_so(quick, how):
    table = random_solver(3)
    with pytest.warns(UserWarning, match=rf"cannot be compiled as '{how}' \(.+\): the table runs as it always does"):
        found = table.compiled(field(untraceable), X0, how)
    assert found.how == ""
    assert found.reason
    assert torch.equal(found(OTHER), table(field(), OTHER))
    with pytest.raises(NotApplicableError, match=rf"cannot be compiled as '{how}'"):
        table.compiled(field(untraceable), X0, how, strict=True)


def test_other_samples_are_refused(quick):
    """Something that tells whether it is compiled, as a faulty compiler would."""

    def strange(t, x):
        return x if torch.compiler.is_compiling() else velocity(t, x)

    with pytest.raises(NotApplicableError, match="its samples differ by"):
        random_solver(3).compiled(field(strange), X0, "network", strict=True)


def test_states_of_another_kind_are_refused(quick):
    found = random_solver(2).compiled(field(), X0, "network")
    for other in (X0[:2], X0.double(), X0.to("meta")):
        with pytest.raises(UsageError, match=r"compiled for states \[5, 3, 2\] in float32 on cpu, not for states"):
            found(other)


def test_what_to_compile_is_checked():
    with pytest.raises(
        UsageError, match="Nothing that can be compiled is called 'jit': choose auto, network, sampler, graph"
    ):
        random_solver(2).compiled(field(), X0, "jit")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="A CUDA graph needs states on a CUDA device, not on cpu"):
        random_solver(2).compiled(field(), X0, "graph")


@pytest.mark.parametrize(("device", "chosen"), [("cpu", "network"), ("cuda:0", "graph"), ("meta", "network")])
def test_what_is_compiled_depends_on_the_device(device, chosen):
    assert compiling._chosen("auto", torch.device(device)) == chosen


class Graph:
    """A graph of operations on the CPU: captured once, and replayed into the same memory as a CUDA graph's are."""

    def __init__(self):
        self.operations = []

    def replay(self):
        for operation, arguments, keywords, out in self.operations:
            found = operation(*arguments, **keywords)
            if isinstance(out, torch.Tensor) and found.data_ptr() != out.data_ptr():
                out.copy_(found)


class Capture(TorchDispatchMode):
    def __init__(self, graph):
        super().__init__()
        self.graph = graph

    def __torch_dispatch__(self, operation, types, arguments=(), keywords=None):
        del types
        out = operation(*arguments, **(keywords or {}))
        self.graph.operations.append((operation, arguments, keywords or {}, out))
        return out


@pytest.fixture
def cuda(monkeypatch):
    """Stand in for the parts of CUDA that capture a graph."""
    waits: list[object] = []
    stream = SimpleNamespace(wait_stream=waits.append)

    @contextmanager
    def on(_stream):
        yield

    for name, part in {
        "Stream": lambda: stream,
        "current_stream": lambda: stream,
        "stream": on,
        "CUDAGraph": Graph,
        "graph": Capture,
    }.items():
        monkeypatch.setattr(torch.cuda, name, part)
    monkeypatch.setattr(compiling, "_chosen", lambda how, device: "graph")
    return waits


def test_a_graph_is_captured_once_and_replayed_for_other_states(cuda):
    calls = []

    def counted(t, x):
        calls.append(float(t))
        return velocity(t, x)

    table = random_solver(4)
    found = table.compiled(FunctionField(counted, CondOT()), X0, "graph", strict=True)
    # Once to compare with, then to warm up, and once to capture.
    assert len(calls) == 4 * (1 + compiling.WARM_UPS + 1)
    assert len(cuda) == 2
    first = found(OTHER)
    kept = first.clone()
    torch.testing.assert_close(first, table(field(), OTHER))
    torch.testing.assert_close(found(X0), table(field(), X0))
    assert torch.equal(first, kept)  # the graph's own memory was not handed out
    assert len(calls) == 4 * (1 + compiling.WARM_UPS + 1)


def test_new_conditions_are_written_over_the_old_ones(cuda):
    condition = torch.full((5, 3, 2), 0.5)
    conditioned = FunctionField(lambda t, x: velocity(t, x) + condition, CondOT())
    table = random_solver(3)
    found = table.compiled(conditioned, X0, "graph", strict=True)
    condition.fill_(-1.0)
    torch.testing.assert_close(found(OTHER), table(conditioned, OTHER))


def test_what_cannot_be_captured_runs_as_it_is(cuda, monkeypatch):
    def refused(graph):
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    monkeypatch.setattr(torch.cuda, "graph", refused)
    table = random_solver(3)
    with pytest.warns(UserWarning, match="operation not permitted when stream is capturing"):
        found = table.compiled(field(), X0, "graph")
    assert torch.equal(found(OTHER), table(field(), OTHER))
