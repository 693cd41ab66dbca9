"""`bnsbench.wrap`: networks of users as models."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.testing._internal.two_tensor import TwoTensor

import bnsbench
from bnsbench.errors import NotApplicableError, UsageError
from bnsbench.truth.ground_truth import solve
from tests.api.networks import Labelled, Linear


def test_the_network_gets_a_time_for_every_sample_in_its_own_precision() -> None:
    network = Linear().eval()
    model = bnsbench.wrap(network, shape=(2, 3))
    model.field(None)(torch.tensor(0.25, dtype=torch.float64), torch.zeros(5, 2, 3, dtype=torch.float64))
    t, x = network.seen[-1]
    assert (t.shape, t.dtype, x.dtype) == ((5,), torch.float32, torch.float32)
    assert t.tolist() == [0.25] * 5


def test_its_ground_truth_is_the_closed_form() -> None:
    network = Linear().eval().double()
    model = bnsbench.wrap(network, shape=(3,))
    x0 = torch.randn(6, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    truth, _ = solve(model.field(None), x0, 1e-9)
    torch.testing.assert_close(truth, network.exact(x0), rtol=0, atol=1e-8)


@pytest.mark.parametrize("first", [torch.le, torch.lt])
def test_its_ground_truth_stops_at_jumps(first: Callable[[Tensor, float], Tensor]) -> None:
    """dx/dt = 1 before 0.4 and -2 after it, in float32: a truth that steps across needs many small steps there."""

    def velocity(t: Tensor, x: Tensor) -> Tensor:
        return torch.where(first(t, 0.4), 1.0, -2.0)[:, None].expand_as(x)

    known, unknown = (bnsbench.wrap(velocity, shape=(2,), jumps=jumps, check=False) for jumps in ([0.4], ()))
    x0 = torch.zeros(3, 2, dtype=torch.float64)
    truth, nfe = solve(known.field(None), x0, 1e-6)
    torch.testing.assert_close(truth, torch.full_like(truth, 0.4 - 2 * 0.6), rtol=0, atol=1e-12)
    assert nfe < solve(unknown.field(None), x0, 1e-6)[1] / 2
    assert known.fingerprint() != unknown.fingerprint()
    with pytest.raises(UsageError, match=r"Jumps lie inside of the interval \(0, 1\), so not at \[1.0\]"):
        bnsbench.wrap(velocity, shape=(2,), jumps=[1.0])


def test_guidance_extrapolates_from_the_null_condition() -> None:
    network = Labelled().eval()
    model = bnsbench.wrap(network, shape=(2,), conditions=torch.tensor([0, 1]), null_condition=torch.tensor(2))
    condition = model.conditions(torch.arange(3))
    assert condition is not None
    assert condition.tolist() == [0, 1, 0]
    x = torch.zeros(3, 2)
    t = torch.tensor(0.0)
    velocity = model.field(condition, 2.0)(t, x)
    # u_w = (1 + w) u_cond - w u_uncond, with u_uncond = 0 at x = 0
    torch.testing.assert_close(velocity, 3.0 * torch.tensor([[-1.0], [1.0], [-1.0]]).expand(3, 2))


def test_conditions_and_null_conditions_may_be_functions() -> None:
    def parity(indices: Tensor) -> Tensor:
        return indices % 2

    model = bnsbench.wrap(Labelled().eval(), shape=(2,), conditions=parity, null_condition=torch.zeros_like)
    condition = model.conditions(torch.tensor([4, 5]))
    assert condition is not None
    assert condition.tolist() == [0, 1]
    assert model.null_condition(condition).tolist() == [0, 0]


def test_guidance_needs_a_null_condition() -> None:
    model = bnsbench.wrap(Labelled().eval(), shape=(2,), conditions=torch.tensor([0, 1]))
    condition = model.conditions(torch.arange(2))
    assert condition is not None
    with pytest.raises(NotApplicableError, match="no unconditional prediction"):
        model.field(condition, 1.0)(torch.tensor(0.0), torch.zeros(2, 2))


def test_the_fingerprint_follows_weights_path_interval_and_shape() -> None:
    def fingerprint(network: nn.Module, **changes: object) -> str:
        return bnsbench.wrap(network, **{"shape": (2,), **changes}).fingerprint()  # type: ignore[arg-type]

    network = Linear().eval()
    first = fingerprint(network)
    assert first == fingerprint(Linear().eval())
    different = {
        fingerprint(network, path="cosine"),
        fingerprint(network, interval=(0.0, 0.999)),
        fingerprint(network, shape=(3,)),
        fingerprint(Linear(k=1.6).eval()),
        fingerprint(network, fingerprint="mine"),
    }
    assert len(different | {first}) == 6


def test_the_scale_of_an_adapter_is_part_of_the_fingerprint_and_of_the_state() -> None:
    network = Linear().eval()
    model = bnsbench.wrap(network, shape=(2,))
    plain, state = model.fingerprint(), model.network_state()
    assert (state.shape, state.dtype, state.quantisation, state.adapters) == ((2,), "float32", "", ())
    # As PEFT keeps them: the scale is in a mapping, and in no weight.
    layer = nn.Linear(2, 2)
    layer.__dict__.update(active_adapters=["style"], merged_adapters=[], scaling={"style": 1.0})
    network.layer = layer
    first = model.fingerprint()
    layer.__dict__["scaling"] = {"style": 0.5}
    assert len({plain, first, model.fingerprint()}) == 3
    assert model.network_state().adapters == ("style x 0.5",)


def test_weights_in_bytes_are_not_the_precision_of_states() -> None:
    network = Linear().eval()
    network.register_parameter("packed", nn.Parameter(torch.zeros(2, dtype=torch.uint8), requires_grad=False))
    network.register_parameter("k", network._parameters.pop("k"))  # so that bytes come before it
    model = bnsbench.wrap(nn.ModuleDict({"network": network})["network"], shape=(2,))
    assert model.dtype == torch.float32
    assert model.network_state().quantisation == "weights in uint8"


def test_weights_that_are_made_of_several_tensors_are_hashed_by_these() -> None:
    def fingerprint(scale: float) -> str:
        network = nn.Linear(2, 2)
        numbers = torch.arange(4.0).reshape(2, 2)
        network.weight = nn.Parameter(TwoTensor(numbers, scale * numbers))
        network.bias.data.zero_()
        return bnsbench.wrap(network.eval(), shape=(2,), check=False).fingerprint()

    assert fingerprint(1.0) == fingerprint(1.0) != fingerprint(2.0)


def test_a_function_of_no_module_tells_nothing_of_its_weights() -> None:
    model = bnsbench.wrap(lambda t, x: -x, shape=(2,))
    assert (model.network_state().quantisation, model.network_state().adapters) == (None, None)


def test_the_fingerprint_of_weights_that_are_trained_further_changes() -> None:
    network = Linear().eval()
    model = bnsbench.wrap(network, shape=(2,))
    before = model.fingerprint()
    with torch.no_grad():
        network.k.add_(1.0)
    after = model.fingerprint()
    with torch.no_grad():
        network.k.sub_(1.0)
    assert before != after
    assert model.fingerprint() == before


def test_the_fingerprint_follows_conditions() -> None:
    network = Labelled().eval()

    def fingerprint(conditions: object, null: object = None) -> str:
        return bnsbench.wrap(network, shape=(2,), conditions=conditions, null_condition=null).fingerprint()  # type: ignore[arg-type]

    given = [torch.tensor([0, 1]), torch.tensor([1, 0]), lambda i: i % 2, lambda i: (i + 1) % 2, lambda i: i * 0]
    different = {fingerprint(each) for each in given}
    assert len(different) == 5
    assert fingerprint(given[0]) == fingerprint(torch.tensor([0, 1]))
    assert len({fingerprint(given[0], torch.tensor(null)) for null in (1, 2)}) == 2


def test_the_fingerprint_follows_the_function_around_a_network() -> None:
    network = Linear().eval()

    def fingerprint(velocity: object) -> str:
        return bnsbench.wrap(velocity, shape=(2,), network=network).fingerprint()  # type: ignore[arg-type]

    first = fingerprint(lambda t, x: network(t, x) * 1.0)
    assert first == fingerprint(lambda t, x: network(t, x) * 1.0)
    assert first != fingerprint(lambda t, x: network(1 - t, x) * 1.0)
    assert first != fingerprint(lambda t, x: network(t, x) * 2.0)


def test_the_fingerprint_follows_plain_attributes() -> None:
    class Scaled(nn.Module):
        def __init__(self, scale: float) -> None:
            super().__init__()
            self.scale = scale

        def forward(self, t: Tensor, x: Tensor) -> Tensor:
            del t
            return self.scale * x

    one, two = (bnsbench.wrap(Scaled(scale).eval(), shape=(2,)).fingerprint() for scale in (1.0, 2.0))
    assert one != two


def test_another_precision_leaves_the_network_as_it_is() -> None:
    network = Linear(k=1.2345678).eval()
    model = bnsbench.wrap(network, shape=(2,))
    bnsbench.sample(model, "euler", 2, count=2, dtype="bfloat16")
    assert network.k.dtype == torch.float32
    assert float(network.k.detach()) == pytest.approx(1.2345678, rel=1e-7)
    function = bnsbench.wrap(lambda t, x: network(t, x) + 0.0, shape=(2,), network=network)
    with pytest.raises(UsageError, match=r"called by a function, so it cannot be copied to torch\.bfloat16"):
        bnsbench.sample(function, "euler", 2, count=2, dtype="bfloat16")


def test_conditions_come_in_the_precision_of_the_states() -> None:
    seen = []

    def velocity(t: Tensor, x: Tensor, condition: Tensor) -> Tensor:
        del t
        seen.append(condition.dtype)
        return x

    model = bnsbench.wrap(velocity, shape=(2,), conditions=torch.ones(4, 3), check=False)
    model.field(torch.ones(2, 3))(torch.tensor(0.0), torch.zeros(2, 2))
    model.predict(torch.tensor(0.0), torch.zeros(2, 2, dtype=torch.float64), torch.ones(2, 3))
    assert seen == [torch.float32, torch.float64]


@pytest.mark.parametrize("optimiser", ["gauss-newton", "adam"])
def test_training_leaves_no_gradients_in_the_network(optimiser: str) -> None:
    network = Linear().eval()
    bnsbench.train(bnsbench.wrap(network, shape=(2,)), 2, optimiser=optimiser, pairs=16, iterations=2)
    assert network.k.grad is None


@pytest.mark.parametrize("shape", [2, (2.5,), ("a",), (0,)])
def test_a_shape_that_is_none(shape: object) -> None:
    with pytest.raises(UsageError, match="The shape of a sample is a tuple of whole numbers"):
        bnsbench.wrap(Linear().eval(), shape=shape)  # type: ignore[arg-type]


class Settings:
    """What nobody can look into."""

    scale = 1.0


def test_a_function_that_uses_what_cannot_be_looked_into_is_itself_alone(caplog: pytest.LogCaptureFixture) -> None:
    network, settings = Linear().eval(), Settings()

    def velocity(t: Tensor, x: Tensor) -> Tensor:
        return settings.scale * network(t, x)

    unknown = [bnsbench.wrap(velocity, shape=(2,)) for _ in range(2)]
    assert unknown[0].fingerprint() != unknown[1].fingerprint()
    assert "Nothing about the network linear is kept, since its function uses an object of Settings" in caplog.messages[0]
    known = [bnsbench.wrap(velocity, shape=(2,), fingerprint="mine") for _ in range(2)]
    assert known[0].fingerprint() == known[1].fingerprint()


def test_the_network_of_a_function_is_found_in_it() -> None:
    network, scale = Linear().eval().double(), torch.tensor(1.0)

    def fingerprint(velocity: object) -> str:
        return bnsbench.wrap(velocity, shape=(2,)).fingerprint()  # type: ignore[arg-type]

    model = bnsbench.wrap(lambda t, x: scale * network(t, x), shape=(2,))
    assert model.dtype == torch.float64
    first = fingerprint(lambda t, x: scale * network(t, x))
    assert first == fingerprint(lambda t, x: scale * network(t, x))
    scale = torch.tensor(1.5)
    assert first != fingerprint(lambda t, x: scale * network(t, x))
    scale = torch.tensor(1.0)
    with torch.no_grad():
        network.k.add_(1.0)
    assert first != fingerprint(lambda t, x: scale * network(t, x))
    network.train()
    with pytest.raises(UsageError, match="training mode"):
        fingerprint(lambda t, x: scale * network(t, x))


def test_what_is_returned_must_have_the_shape_of_the_states() -> None:
    said = (
        r"returned \[2\] for states \[2, 2\]: velocity\(t, x\) takes its arguments in this order and returns one for every"
    )
    with pytest.raises(UsageError, match=said):
        bnsbench.wrap(lambda x, t: x, shape=(2,))
    model = bnsbench.wrap(lambda x, t: x, shape=(2,), check=False)
    with pytest.raises(UsageError, match=r"returned \[4\] for states \[4, 2\]"):
        model.field(None)(torch.tensor(0.0), torch.zeros(4, 2))


def test_a_network_in_training_mode_is_refused() -> None:
    with pytest.raises(UsageError, match="training mode"):
        bnsbench.wrap(Linear(), shape=(2,))


def test_an_unknown_path_is_told() -> None:
    with pytest.raises(UsageError, match="There is no path 'flow'; known paths: condot, cosine"):
        bnsbench.wrap(Linear().eval(), shape=(2,), path="flow")


def test_paths_with_numbers_are_objects() -> None:
    model = bnsbench.wrap(Linear().eval(), shape=(2,), path=bnsbench.paths.VP(0.1, 15.0), interval=(0.0, 0.999))
    assert model.path == bnsbench.paths.VP(0.1, 15.0)


def test_decoding() -> None:
    model = bnsbench.wrap(Linear().eval(), shape=(2,), decode=lambda x: 2 * x)
    assert model.decode(torch.ones(1, 2)).tolist() == [[2.0, 2.0]]
