from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from bnsbench.contract import PluginHost, Selection
from bnsbench.contract.specs import SolverSpec
from bnsbench.errors import BnsbenchError, UsageError
from bnsbench.flows.features import SampleFeatures
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.solvers.runge_kutta import midpoint
from bnsbench.training.problem import Problem, TrainingStatus
from bnsbench.training.trainer import checked_training, features_of, make_problem, train_solver
from bnsbench.truth.pairs import PairSource
from tests.flows.toy import SineField
from tests.metrics.shown import Shown
from tests.training.toys import SMALL, cross_source, euler_table

SOURCE = cross_source(guidance=1.0)


def nobody(nfe: int) -> SolverArtefact:
    raise AssertionError(f"nobody asked for {nfe} evaluations")


def made_problem(source: PairSource, **more: Any) -> Problem:
    settings = {"previous": nobody, "progress": lambda status: None, "checkpoint": Path("state.pt"), **more}
    return make_problem(source, PluginHost.load(), **settings)


def test_a_problem_has_all_that_it_is_made_of() -> None:
    told: list[TrainingStatus] = []
    made = made_problem(SOURCE, progress=told.append, checkpoint=Path("there.pt"))
    assert (made.source, made.previous, made.checkpoint, made.features) == (SOURCE, nobody, Path("there.pt"), None)
    status = TrainingStatus(nfe=3, stage="test", iteration=1, total=2, psnr=30.0)
    made.report(status)
    assert told == [status]


def test_a_problem_knows_the_host_s_classic_solvers_and_none_that_is_trained() -> None:
    classic = made_problem(SOURCE).classic
    assert classic is not None
    found, x0 = classic("midpoint"), torch.randn(3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert (found.stages, found.grid) == (2, "uniform")
    torch.testing.assert_close(found.sample(SineField(), x0, 4), midpoint(SineField(), x0, 4))
    assert classic("ab2[grid=quadratic]").grid == "quadratic"
    with pytest.raises(UsageError, match="'pd' is a network of its own"):
        classic("pd")
    with pytest.raises(UsageError, match="'bns' is itself trained"):
        classic("bns")


def test_a_trained_solver_bears_its_selector_s_name() -> None:
    selection = PluginHost.load().solver("bns[pairs=16,iterations=1,init=euler]")
    made = train_solver(selection, Problem(SOURCE, effort=SMALL), 2)
    assert made.name == selection.name == "bns[init=euler,iterations=1,pairs=16]"
    assert (made.solver.nfe, made.model, made.guidance) == (2, "cross", 1.0)


@pytest.mark.parametrize("nfe", [2, 3, 4])
def test_a_trained_solver_of_another_nfe_is_refused(nfe: int) -> None:
    class Fixed:
        """Makes a table of three evaluations whatever it is asked for."""

        name = "fixed"

        def make(self) -> Any:
            return lambda problem, nfe: problem.artefact("plain", euler_table(3), {}, 0.0)

    selection = cast("Selection[SolverSpec]", Fixed())
    if nfe == 3:
        assert train_solver(selection, Problem(SOURCE), nfe).name == "fixed"
    else:
        with pytest.raises(BnsbenchError, match=f"fixed trained for 3 evaluations instead of {nfe}"):
            train_solver(selection, Problem(SOURCE), nfe)


@pytest.mark.parametrize("name", ["digits-ot", "digits-gmm", "scenes", "speech"])
def test_features_can_be_trained_for(name: str) -> None:
    model = PluginHost.load().model(name).make()
    features = features_of(model)
    assert features is not None
    states = (0.3 * torch.randn(2, *model.shape, generator=torch.Generator().manual_seed(0))).requires_grad_()
    found = features(states)
    (slope,) = torch.autograd.grad(found[:, 0].sum(), states)
    with torch.no_grad():
        step = 1e-3 * slope / slope.norm()
        moved = (features(states + step) - features(states - step))[:, 0].sum() / 2e-3
    assert float(moved) == pytest.approx(float(slope.norm()), rel=0.02)


@pytest.mark.parametrize("name", ["ring8", "textures"])
def test_models_without_features_have_none_to_train_for(name: str) -> None:
    assert features_of(PluginHost.load().model(name).make()) is None


class Seen(SampleFeatures):
    """What features are shown, in one row for each sample."""

    name, width = "seen", 0

    def of_samples(self, samples: torch.Tensor) -> torch.Tensor:
        assert samples.dtype == torch.float32
        return torch.cat([torch.tensor(samples.shape[1:]).float().expand(len(samples), -1), samples.flatten(1)], dim=1)

    def fingerprint(self) -> str:
        return "seen"


@pytest.mark.parametrize(
    ("shape", "rate", "heard"),
    [((2, 3), 16_000, [3, 1.5, 2.5, 3.5]), ((6,), 16_000, [6, 0, 1, 2, 3, 4, 5]), ((2, 3), None, [2, 3, 0, 1, 2, 3, 4, 5])],
    ids=["stereo", "mono", "no sound"],
)
def test_channels_of_sound_are_averaged_for_features(shape: tuple[int, ...], rate: int | None, heard: list[float]) -> None:
    features = features_of(Shown(shape, Seen(), rate=rate))
    assert features is not None
    states = torch.arange(6.0, dtype=torch.float64).reshape(1, *shape)
    assert features(states).tolist() == [heard]


def test_shown_features_are_those_of_pictures_within_their_range() -> None:
    """As metrics see them; sound has no such range."""
    states = torch.tensor([-3.0, -0.5, 0.5, 1.0, 2.0, 0.0], dtype=torch.float64)
    for shape, rate, last in (((1, 2, 3), None, [-1.0, -0.5, 0.5, 1.0, 1.0, 0.0]), ((6,), 8000, states.tolist())):
        features = features_of(Shown(shape, Seen(), rate=rate), shown=True)
        assert features is not None
        assert features(states.reshape(1, *shape))[0, -6:].tolist() == last


def handed_back(change: Any) -> None:
    """Train by a trainer that hands back something else than Euler's table."""

    class Trainer:
        name = "trainer"

        def make(self) -> Any:
            return lambda problem, nfe: change(problem.artefact("x", euler_table(nfe), {}, 0.0))

    train_solver(cast("Selection[SolverSpec]", Trainer()), Problem(SOURCE), 2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda found: None, "it returned None instead of a SolverArtefact"),
        (lambda found: found.solver, "it returned a NonStationarySolver instead of a SolverArtefact"),
        (lambda found: replace(found, fingerprint="other"), "with the fingerprint of another field: the text 'other'"),
        (lambda found: replace(found, guidance=3.0), "it returned a table with the guidance of another field: 3.0"),
        (lambda found: replace(found, interval=(0.0, 0.5)), "it returned a table for the interval (0.0, 0.5) instead of"),
        (lambda found: replace(found, training="done"), "it returned the text 'done' as a training record"),
        (lambda found: replace(found, training={"forwards": {"a": "b"}}), "the text 'b' as the forwards for a"),
        (lambda found: replace(found, training={"seconds": -1}), "it returned -1 as the seconds of its training"),
    ],
)
def test_what_a_trainer_hands_back_is_checked(change: Any, said: str) -> None:
    with pytest.raises(BnsbenchError) as caught:
        handed_back(change)
    assert said in str(caught.value)


def test_a_training_record_in_plain_numbers() -> None:
    found = checked_training({"forwards": {"a": torch.tensor(3)}, "psnr": torch.tensor(2.5), "grid": None, "other": [1]})
    assert (found.forwards, found.psnr, found.seconds, found.grid, found.rule) == ({"a": 3}, 2.5, 0.0, "", "")


@pytest.mark.parametrize("status", ["half", None, 3])
def test_what_is_no_status_is_told(status: Any) -> None:
    with pytest.raises(BnsbenchError, match="instead of a TrainingStatus"):
        Problem(SOURCE).report(status)


@pytest.mark.parametrize("change", [{"psnr": "high"}, {"iteration": "1"}, {"forwards": 0.5}, {"loss": []}])
def test_a_status_without_numbers_is_told(change: Any) -> None:
    with pytest.raises(BnsbenchError, match="of its progress"):
        replace(TrainingStatus(3, "test", 1, 2, 30.0), **change).checked()
