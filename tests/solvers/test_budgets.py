"""Every solver on every path, at every small budget: finite, counted, traceable, and exact where it can be."""

from __future__ import annotations

import functools
import importlib
import inspect
import subprocess
import sys
from typing import Any

import pytest
import torch

from bnsbench.errors import UsageError
from bnsbench.flows.fields import CountingField, FunctionField
from bnsbench.flows.paths import EDM, VE, VP, CondOT, Cosine, DiscreteVP, Preconditioned
from bnsbench.nonstationary.tracing import trace
from bnsbench.solvers.grids import time_grid
from bnsbench.solvers.specs import SOLVERS
from tests.solvers.names import FINITE, table_of

SETTINGS = {
    "condot": (CondOT(), (0.0, 1.0)),
    "cosine": (Cosine(), (0.0, 1.0)),
    "vp": (VP(), (0.0, 0.999)),
    "vp-to-zero": (VP(), (0.0, 1.0)),
    "discrete-vp": (DiscreteVP.linear(), (0.0, 1.0)),
    "edm": (EDM(), (0.0, 1.0)),
    "edm-to-zero": (EDM(0.0), (0.0, 1.0)),
    "ve": (VE(), (0.0, 1.0)),
    "preconditioned": (Preconditioned(CondOT(), 5.0), (0.0, 1.0)),
}
VARIANTS: list[tuple[str, dict[str, Any]]] = [(spec.name, {}) for spec in SOLVERS] + [
    ("unipc", {"order": 3, "variant": "bh1", "lower_order_final": False}),
    ("dpm++3m", {"lower_order_final": False}),
    ("deis", {"order": 4, "variable": "rho"}),
    ("deis", {"order": 4, "variable": "logsnr"}),
    ("ipndm", {"order": 1}),
    ("ipndm-v", {"order": 4}),
    ("sa-solver", {"predictor_order": 3, "corrector_order": 4, "simple_order_2": False, "lower_order_final": False}),
    ("sa-solver", {"corrector_order": 0}),
    ("sa-solver", {"predictor_order": 4, "corrector_order": 1}),
    ("er-sde", {"order": 2}),
    ("res-2s", {"c2": 1.0}),
    ("gradient-estimation", {"gamma": 1.5}),
    ("stork2", {"derivatives": 2, "s": 3, "exact_times": True}),
]
EXPONENTIAL = [
    name for name, _ in VARIANTS if name.startswith(("dd", "dp", "un", "de", "ip", "ed", "sa", "re", "et", "er", "gr"))
]


def budgets(name, largest):
    spec = next(spec for spec in SOLVERS if spec.name == name)
    return [nfe for nfe in range(1, largest + 1) if spec.budgets.reason_against(nfe) is None]


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(("name", "parameters"), VARIANTS, ids=str)
def test_budgets_are_kept_and_results_are_finite(solver, setting, name, parameters):
    path, interval = SETTINGS[setting]
    times = []

    def velocity(t, x):
        times.append(float(t))
        return -0.5 * x

    x0 = torch.ones(2, 3, dtype=torch.float64)
    for nfe in budgets(name, 16):
        counter = CountingField(FunctionField(velocity, path, interval))
        result = solver(name, **parameters)(counter, x0, nfe)
        assert counter.nfe == nfe
        assert result.isfinite().all()
    assert torch.equal(x0, torch.ones_like(x0))
    assert interval[0] == min(times)
    assert max(times) <= interval[1]


@pytest.mark.parametrize("setting", ["condot", "vp", "discrete-vp", "edm-to-zero"])
@pytest.mark.parametrize(("name", "parameters"), VARIANTS, ids=str)
def test_every_solver_is_traceable(solver, setting, name, parameters):
    path, interval = SETTINGS[setting]
    nfe = budgets(name, 8)[-1]
    table = trace(functools.partial(solver(name, **parameters), nfe=nfe), path, interval)
    assert table.nfe == nfe
    assert (float(table.times[0]), float(table.times[-1])) == interval


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", sorted(set(EXPONENTIAL)))
def test_exponential_solvers_are_exact_for_constant_data(solver, deviation, setting, name):
    """If all data are one point, data and noise predictions are constant, and one step is as good as many."""
    path, (begin, end) = SETTINGS[setting]
    point = torch.tensor([1.5, -0.5], dtype=torch.float64)

    def velocity(t, x):
        noise = (x - path.alpha(t) * point) / path.sigma(t)
        return path.d_alpha(t) * point + path.d_sigma(t) * noise

    noise = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x0 = path.alpha(begin) * point + path.sigma(begin) * noise
    expected = path.alpha(end) * point + path.sigma(end) * noise
    for nfe in (1, 2, 5, 9):
        assert deviation(solver(name)(FunctionField(velocity, path, (begin, end)), x0, nfe), expected) < 1e-9


def test_ddim_is_euler_on_the_flow_path(solver):
    tables = [trace(functools.partial(solver(name), nfe=6), CondOT()) for name in ("ddim", "euler")]
    torch.testing.assert_close(tables[0].b, tables[1].b, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(tables[0].a, torch.ones(6, dtype=torch.float64), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("spec", [spec for spec in SOLVERS if "grid" in spec.parameters], ids=lambda spec: spec.name)
def test_grids_have_a_step_for_every_so_many_evaluations(solver, setting, spec):
    path, interval = SETTINGS[setting]
    for nfe in budgets(spec.name, 12):
        steps = nfe // spec.stages
        assert nfe % spec.stages == 0
        table = trace(functools.partial(solver(spec.name, grid=nodes(steps)), nfe=nfe), path, interval)
        assert table.nfe == nfe
        for wrong in {*range(1, nfe + 3)} - {steps}:
            with pytest.raises(UsageError, match=f"gives {wrong - 1} inner times, but {steps} steps take {steps - 1}"):
                solver(spec.name, grid=nodes(wrong))(FunctionField(lambda t, x: -x, path, interval), torch.ones(1, 1), nfe)


@pytest.mark.parametrize(("path", "interval"), FINITE)
@pytest.mark.parametrize(("name", "settings"), [("heun", {}), ("edm-heun", {}), ("etd2rk", {}), ("res-2s", {"c2": 1.0})])
def test_stages_at_the_ends_of_steps_are_evaluated_at_the_grid_s_own_times(path, interval, name, settings):
    """To the last bit, so that none lies outside of the interval by rounding."""
    grid = time_grid("quadratic", path, interval, 7)
    table = table_of(name, {**settings, "grid": grid}, FunctionField(lambda t, x: x, path, interval), 14)
    assert table.times.tolist() == grid.repeat_interleave(2)[1:].tolist()


def nodes(steps):
    """A grid of unequal steps."""
    return ":".join(["nodes", *(str((k / steps) ** 1.5) for k in range(1, steps))])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("spec", SOLVERS, ids=lambda spec: spec.name)
def test_states_keep_their_precision(solver, spec, dtype):
    field = FunctionField(lambda t, x: -x, CondOT())
    assert solver(spec.name)(field, torch.ones(2, 3, dtype=dtype), 12).dtype == dtype


@pytest.mark.parametrize("spec", SOLVERS, ids=lambda spec: spec.name)
def test_specs_tell_the_truth_about_their_targets(spec):
    module, attribute = spec.target.split(":")
    function = getattr(importlib.import_module(module), attribute)
    keywords = [p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    assert {keyword.name: keyword.default for keyword in keywords} == dict(spec.parameters)
    assert spec.reference
    assert spec.summary.endswith(".")


def test_listing_solvers_does_not_import_torch():
    code = "import sys, bnsbench.solvers.specs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
