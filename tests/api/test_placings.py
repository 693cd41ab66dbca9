"""Where a solver stands among tuned classics."""

from __future__ import annotations

import math

import pytest
import torch

import bnsbench
from bnsbench.api import placings as placings_module
from bnsbench.api.named import named_model, open_host
from bnsbench.api.placings import TEST_SAMPLES, Placing, placings_of
from bnsbench.api.training import Trainings, sources_of, tunable
from bnsbench.errors import NotApplicableError
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.truth.psnr import psnr_per_sample


class Notices(bnsbench.Listener):
    """Keeps what the user should read."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def notice(self, text: str) -> None:
        self.texts.append(text)


def stand(solver: str, nfe: int) -> tuple[list[Placing], Notices]:
    """Return the placings of a classic's plain table on ring8."""
    host, heard = open_host(), Notices()
    named = named_model(host, "ring8")
    (source,) = sources_of(named, [0.0], tolerance=1e-4)
    table = bnsbench.solver(solver, nfe, "ring8")
    artefact = SolverArtefact(
        solver=table,
        path=named.model.path,
        interval=named.model.interval,
        model=named.name,
        fingerprint=named.model.fingerprint(),
        guidance=0.0,
        name="mine",
    )
    trainings = Trainings(host, tunable(host, "tuned"), source, heard)
    return placings_of(trainings, [source], artefact), heard


def test_the_best_is_first_and_every_classic_has_its_grid() -> None:
    placings, heard = stand("euler", 4)
    means = [placing.mean for placing in placings]
    assert means == sorted(means, reverse=True)
    grids = {placing.solver: placing.grid for placing in placings}
    assert grids.pop("mine") == ""
    assert {"euler", "midpoint", "dpm++2m"} <= set(grids)
    assert all(grids.values())
    assert heard.texts == []


def test_values_are_those_of_the_table_on_test_noise() -> None:
    placings, _ = stand("midpoint", 4)
    (mine,) = (placing for placing in placings if placing.solver == "mine")
    (source,) = sources_of(named_model(open_host(), "ring8"), [0.0], tolerance=1e-4)
    pairs = source.pairs("test", TEST_SAMPLES)
    samples = bnsbench.solver("midpoint", 4, "ring8")(pairs.field, pairs.x0)
    expected = psnr_per_sample(samples, pairs.x1, source.model.data_range)
    torch.testing.assert_close(mine.psnr[0], expected, rtol=0, atol=1e-9)


def test_without_a_classic_it_stands_alone_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*arguments: object, **options: object) -> None:
        raise NotApplicableError("None of the rules can spend 4 evaluations.")

    monkeypatch.setattr(placings_module, "tuned_classics", none)
    placings, heard = stand("euler", 4)
    assert [placing.solver for placing in placings] == ["mine"]
    assert heard.texts == ["No classic stands beside it: None of the rules can spend 4 evaluations."]


def test_figures_under_every_scale() -> None:
    psnr = torch.tensor([20.0, 30.0, 40.0], dtype=torch.float64)
    placing = Placing("mine", (psnr, psnr + 10))
    assert placing.means == [30.0, 40.0]
    assert placing.mean == 35.0
    expected = -10 * math.log10((1e-2 + 1e-3 + 1e-4) / 3)
    assert placing.of_mean_error == pytest.approx([expected, expected + 10])
    assert placing.worst == pytest.approx([21.0, 31.0])  # 5 % of the way from the first to the second, and so on
