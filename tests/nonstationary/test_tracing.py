from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bnsbench.errors import NotApplicableError
from bnsbench.flows.fields import FunctionField
from bnsbench.flows.paths import VP, CondOT
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.nonstationary.tracing import MAXIMAL_NFE, NotTraceableError, Shape, trace

PATH = CondOT()


def table(times, a, b):
    return NonStationarySolver(*(torch.tensor(part, dtype=torch.float64) for part in (times, a, b)))


def assert_same(found, expected, tolerance=1e-14):
    for name in ("times", "a", "b"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=tolerance, atol=tolerance)


def euler(field, x, grid=(0.0, 0.2, 0.5, 1.0)):
    for s, t in pairwise(grid):
        x = x + (t - s) * field(torch.tensor(s, dtype=torch.float64), x)
    return x


def midpoint(field, x):
    middle = x + 0.5 * field(torch.tensor(0.0), x)
    return x + field(torch.tensor(0.5), middle)


def rk4(field, x):
    k1 = field(torch.tensor(0.0), x)
    k2 = field(torch.tensor(0.5), x + 0.5 * k1)
    k3 = field(torch.tensor(0.5), x + 0.5 * k2)
    k4 = field(torch.tensor(1.0), x + k3)
    return x + (k1 + 2 * k2 + 2 * k3 + k4) / 6


def test_euler_has_its_table():
    rows = [[0.2, 0, 0], [0.2, 0.3, 0], [0.2, 0.3, 0.5]]
    assert_same(trace(euler, PATH), table([0, 0.2, 0.5, 1], [1, 1, 1], rows))


def test_midpoint_has_its_table():
    assert_same(trace(midpoint, PATH), table([0, 0.5, 1], [1, 1], [[0.5, 0], [0, 1]]))


def test_rk4_has_its_table():
    rows = [[0.5, 0, 0, 0], [0, 0.5, 0, 0], [0, 0, 1, 0], [1 / 6, 1 / 3, 1 / 3, 1 / 6]]
    assert_same(trace(rk4, PATH), table([0, 0.5, 0.5, 1, 1], [1, 1, 1, 1], rows))


@settings(deadline=None, max_examples=25)
@given(n=st.integers(1, 9), seed=st.integers(0, 2**31))
def test_random_tables_trace_back_to_themselves(n, seed):
    generator = torch.Generator().manual_seed(seed)
    inner = torch.rand(n - 1, generator=generator, dtype=torch.float64)
    times = torch.cat([inner.new_zeros(1), inner, inner.new_ones(1)])
    a = torch.randn(n, generator=generator, dtype=torch.float64)
    solver = NonStationarySolver(times, a, torch.randn(n, n, generator=generator, dtype=torch.float64).tril())
    assert_same(trace(solver, PATH), solver)


@pytest.mark.parametrize("sampler", [euler, midpoint, rk4])
@pytest.mark.parametrize("seed", range(3))
def test_the_table_reproduces_the_sampler_on_nonlinear_fields(sampler, seed):
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(8, 3, generator=generator, dtype=torch.float64)
    second = torch.randn(3, 8, generator=generator, dtype=torch.float64)
    network = FunctionField(lambda t, x: torch.tanh((x + t) @ first.T) @ second.T, PATH)
    x0 = torch.randn(20, 3, generator=generator, dtype=torch.float64)
    expected, found = sampler(network, x0), trace(sampler, PATH)(network, x0)
    assert float((found - expected).norm() / expected.norm()) < 1e-12


def test_the_sampler_sees_the_path_and_the_interval():
    def sampler(field, x):
        begin, end = field.interval
        assert isinstance(field.path, VP)
        return x + (end - begin) * field(torch.tensor(begin), x)

    found = trace(sampler, VP(), (0.25, 0.75))
    assert_same(found, table([0.25, 0.75], [1], [[0.5]]))


def test_states_may_have_a_batch_axis():
    def sampler(field, x):
        assert x.ndim == 4
        t = torch.zeros(x.shape[0], dtype=torch.float64)
        return x + field(t, x)

    assert_same(trace(sampler, PATH, shape=lambda numbers: (1, 1, 1, numbers)), table([0, 1], [1], [[1]]))


@pytest.mark.parametrize(
    ("shape", "checked"), [(lambda numbers: (1, 1, numbers), (2, 1, 4)), (lambda numbers: (numbers, 1), (8, 1))]
)
def test_four_runs_on_two_states_and_one_on_basis_vectors(shape: Shape, checked: tuple[int, ...]) -> None:
    seen = []

    def sampler(field, x):
        seen.append(tuple(x.shape))
        return midpoint(field, x)

    trace(sampler, PATH, shape=shape)
    assert seen == [checked] * 4 + [shape(3)]  # x_0 and two velocities


def test_a_sampler_in_single_precision_needs_a_tolerance():
    def sampler(field, x):
        return euler(field, x.float()).double()

    with pytest.raises(NotTraceableError, match="not linear"):
        trace(sampler, PATH)
    assert_same(trace(sampler, PATH, tolerance=1e-5), trace(euler, PATH), 1e-6)


def cancelling(field, x):
    """States a million times as large, in single precision, of which a difference is left."""
    large = 1e6 * torch.ones(())
    return ((x.float() * (1 + large) + field(torch.tensor(0.0), x).float()) - large * x.float()).double()


@pytest.mark.parametrize("sampler", [cancelling, lambda field, x: euler(field, x.float()).double()])
def test_rounding_is_not_taken_for_clipping(sampler):
    with pytest.raises(
        NotTraceableError, match=r"not linear .* to 1e-09, but to .*: that is how much its arithmetic rounds"
    ):
        trace(sampler, PATH, tolerance=1e-9)


@pytest.mark.parametrize("bound", [1e-4, 1.0, 100.0])
def test_clipping_is_not_taken_for_rounding(bound):
    with pytest.raises(NotTraceableError, match="it clips, thresholds or shifts"):
        trace(lambda field, x: euler(field, x.float()).double().clamp(-bound, bound), PATH, tolerance=1e-5)


def test_a_time_that_is_not_a_number():
    with pytest.raises(
        NotTraceableError, match="out of bounds: it evaluates the field at a time that is not a finite number"
    ):
        trace(lambda field, x: x + field(torch.tensor(float("nan")), x), PATH)


def test_a_sampler_may_work_in_place():
    def sampler(field, x):
        x += 0.5 * field(torch.tensor(0.0), x)
        u = field(torch.tensor(0.5), x)
        return x.add_(u.mul_(0.5))

    assert_same(trace(sampler, PATH), table([0, 0.5, 1], [1, 1], [[0.5, 0], [0.5, 0.5]]))


def stochastic_torch(field, x):
    return euler(field, x) + 1e-3 * torch.randn_like(x)


def stochastic_numpy(field, x):
    return euler(field, x) * (1 + 1e-3 * np.random.rand())  # noqa: NPY002


def stochastic_python(field, x):
    return euler(field, x) * (1 + 1e-3 * random.random())  # noqa: S311


def stochastic_times(field, x):
    return euler(field, x, (0.0, float(torch.rand(())), 1.0))


def stochastic_length(field, x):
    return euler(field, x, np.linspace(0, 1, 2 + random.getrandbits(6)).tolist())


def thresholding(field, x):
    return euler(field, x).clamp(-1, 1)


def thresholding_inside(field, x):
    return x + field(torch.tensor(0.5), x + 0.5 * field(torch.tensor(0.0), x).clamp(-1, 1))


def shifting(field, x):
    return euler(field, x) + 1e-6


def squaring(field, x):
    u = field(torch.tensor(0.0), x)
    return x + u + 1e-3 * u**2


def adaptive_times(field, x):
    h = 0.5 / (1 + float(x.abs().amax()))
    return euler(field, x, (0.0, h, 1.0))


def adaptive_length(field, x):
    return euler(field, x, np.linspace(0, 1, 2 + min(int(x.abs().amax()), 5)).tolist())


def mixing_coordinates(field, x):
    return euler(field, x - 0.1 * x.mean())


def normalising(field, x):
    return euler(field, x) / (1 + x.norm())


def per_sample_times(field, x):
    return x + field(torch.linspace(0, 1, x.shape[0], dtype=torch.float64), x)


def never_evaluating(field, x):
    return 2 * x


def endless(field, x):
    while True:
        x = x + 1e-3 * field(torch.tensor(0.5), x)


def out_of_bounds(field, x):
    return x + field(torch.tensor(1.1), x)


def singular(field, x):
    return x + field(torch.tensor(0.0), x) / torch.zeros(())


def rescaling(field, x):
    return euler(field, 14.6 * x)


def reshaping(field, x):
    return euler(field, x)[:1]


@pytest.mark.parametrize(
    ("sampler", "reason"),
    [
        (stochastic_torch, "stochastic"),
        (stochastic_numpy, "stochastic"),
        (stochastic_python, "stochastic"),
        (stochastic_times, "stochastic"),
        (stochastic_length, "stochastic"),
        (thresholding, "not linear"),
        (thresholding_inside, "not linear"),
        (shifting, "not linear"),
        (squaring, "not linear"),
        (adaptive_times, "adaptive"),
        (adaptive_length, "adaptive"),
        (mixing_coordinates, "mixing"),
        (normalising, "mixing"),
        (per_sample_times, "per-sample"),
        (never_evaluating, "never evaluates"),
        (endless, f"more than {MAXIMAL_NFE}"),
        (out_of_bounds, "outside of"),
        (singular, "not all finite"),
        (rescaling, "not at the initial state"),
        (reshaping, "reshaping"),
    ],
)
def test_refuses_with_the_reason(sampler, reason):
    with pytest.raises(NotTraceableError, match=reason) as refusal:
        trace(sampler, PATH)
    assert isinstance(refusal.value, NotApplicableError)


def test_mixing_samples_of_a_batch_is_found():
    def sampler(field, x):
        return euler(field, x) - 0.1 * x.mean(0, keepdim=True)

    with pytest.raises(NotTraceableError, match="mixing"):
        trace(sampler, PATH, shape=lambda numbers: (1, numbers))


def test_global_random_states_are_left_alone():
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    expected = torch.rand(3), np.random.rand(3), random.random()  # noqa: NPY002, S311
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    trace(euler, PATH)
    for sampler in (stochastic_torch, stochastic_numpy, stochastic_python):
        with pytest.raises(NotTraceableError):
            trace(sampler, PATH)
    assert torch.equal(torch.rand(3), expected[0])
    assert (np.random.rand(3) == expected[1]).all()  # noqa: NPY002
    assert random.random() == expected[2]  # noqa: S311


def test_a_failing_sampler_shows_its_own_failure():
    def failing(field, x):
        raise ZeroDivisionError("its own")

    with pytest.raises(ZeroDivisionError, match="its own"):
        trace(failing, PATH)
