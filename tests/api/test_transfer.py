"""`bnsbench.transfer`: a table in other places, against `compare` on the same noise and the exact change of path."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import bnsbench
from bnsbench.api.transfer import Transfer
from bnsbench.errors import UsageError
from bnsbench.flows.paths import CondOT, Cosine
from bnsbench.models.digits.mixture import digits_gmm
from bnsbench.nonstationary.scope import remark
from bnsbench.training.tuning import tuned_classics
from tests.api.networks import Linear

COMMON: dict[str, Any] = {"samples": 16, "tolerance": 1e-4}


class Gaussian(nn.Module):
    """The exact denoiser of data that are normal with standard deviation 0.5 around a label's centre, 0 for none."""

    def __init__(self) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.tensor([-1.0, 1.0, 0.0], dtype=torch.float64))

    def forward(self, x: Tensor, sigma: Tensor, label: Tensor) -> Tensor:
        noise, centre = sigma[:, None] ** 2, self.centres[label][:, None]
        return (0.25 * x + noise * centre) / (0.25 + noise)


def gaussian(path: str = "condot", interval: tuple[float, float] = (0.01, 0.99)) -> bnsbench.Model:
    classes: dict[str, Any] = {"conditions": 2, "null_condition": 2}
    return bnsbench.wrap(denoiser=Gaussian().eval(), path=path, shape=(2,), interval=interval, name="normal", **classes)


def made_for(model: bnsbench.Model, solver: str = "midpoint", guidance: float = 0.0) -> bnsbench.SolverArtefact:
    """A classic's table as if it had been trained for a model."""
    table = bnsbench.solver(solver, 4, model)
    facts: dict[str, Any] = {"model": "normal", "fingerprint": model.fingerprint(), "guidance": guidance, "name": "bns"}
    return bnsbench.SolverArtefact(table, model.path, model.interval, network=model.network_state(), **facts)


@pytest.fixture(autouse=True)
def _few_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuned_classics, "RULES", ("euler", "ab2"))


@pytest.fixture
def guided() -> Transfer:
    """A table of w = 0 there and at w = 2, where another was trained."""
    model = gaussian()
    there = made_for(model, "ab2", guidance=2.0)
    return bnsbench.transfer(made_for(model), model=model, guidance=[0, 2], specialists=[there], **COMMON)


def test_each_place_has_the_figures_of_compare(guided: Transfer) -> None:
    model = gaussian()
    home, there = guided.table.to_dict("records")
    assert [home["specialist"], there["specialist"]] == ["itself", "bns"]
    assert pd.isna(home["specialist_difference"])
    for row in (home, there):
        rival = made_for(model, "midpoint" if row is home else "ab2", guidance=row["guidance"])
        tables = {"own": made_for(model).solver, "rival": rival.solver}
        found = bnsbench.compare(model, tables, guidance=row["guidance"], **COMMON).set_index("solver")
        assert row["psnr"] == pytest.approx(found.psnr["own"])
        assert (row["psnr_low"], row["psnr_high"]) == pytest.approx((found.psnr_low["own"], found.psnr_high["own"]))
        assert row["specialist_psnr"] == pytest.approx(found.psnr["rival"])
        assert row["forwards"] == found.forwards["own"]
    assert there["specialist_difference"] == pytest.approx(there["psnr"] - there["specialist_psnr"])
    assert there["specialist_low"] < there["specialist_difference"] < there["specialist_high"]


def test_the_best_classic_is_that_of_tune(guided: Transfer) -> None:
    model = gaussian()
    for row in guided.table.to_dict("records"):
        tuned = bnsbench.tune(model, 4, guidance=row["guidance"], tolerance=1e-4)
        assert row["classic"] == tuned.training["rule"]
        assert row["classic_forwards"] == sum(tuned.training["forwards"].values())
        found = bnsbench.compare(model, tuned, guidance=row["guidance"], **COMMON)
        assert row["classic_psnr"] == pytest.approx(found.psnr[0])
        assert row["classic_difference"] == pytest.approx(row["psnr"] - found.psnr[0])


def test_every_forward_is_counted(guided: Transfer) -> None:
    rows = guided.table.to_dict("records")
    # At home the table itself and the classic are sampled, elsewhere the specialist as well.
    sampled = sum(16 * row["forwards"] * tables for row, tables in zip(rows, (2, 3), strict=True))
    assert guided.forwards == sampled + sum(row["truth_forwards"] + row["classic_forwards"] for row in rows)


def test_the_solver_knows_what_was_measured(guided: Transfer) -> None:
    artefact, row = guided.artefact, guided.table.iloc[1]
    with pytest.warns(UserWarning, match="There it was measured") as told:
        bnsbench.sample(gaussian(), artefact, count=2, guidance=2.0)
    gap = row.specialist_difference
    assert f"{abs(gap):.1f} dB {'above' if gap > 0 else 'below'} a table trained there" in str(told[0].message)
    again = bnsbench.SolverArtefact.from_dict(artefact.to_dict())
    assert remark(again.scope, again.scope, again.training) == ""


def test_a_table_travels_to_another_path() -> None:
    # The same denoiser on both, between the same levels of noise: the solver is the same, and so are its samples' errors.
    levels = CondOT().log_snr(torch.tensor([0.01, 0.99], dtype=torch.float64))
    begin, end = Cosine().time(levels).tolist()
    home, there = (
        bnsbench.transfer(made_for(gaussian()), model=model, samples=16, tolerance=1e-7).table.iloc[0]
        for model in (gaussian(), gaussian("cosine", (begin, end)))
    )
    assert there.status == "ok"
    # The end states differ by their scale, sigma(end), of both the error and the truth.
    scale = float(Cosine().sigma(torch.tensor(end)) / CondOT().sigma(torch.tensor(0.99)))
    assert there.psnr == pytest.approx(home.psnr - 20 * math.log10(scale), abs=0.01)


def test_another_interval_is_a_row_that_says_so() -> None:
    table = made_for(bnsbench.wrap(Linear().eval(), shape=(2,), name="normal"))
    other = bnsbench.wrap(Linear().eval(), shape=(2,), interval=(0.0, 0.5), name="normal")
    row = bnsbench.transfer(table, model=other, **COMMON).table.iloc[0]
    assert row.status == "skipped"
    assert "on [0.0, 1.0]; this model has" in row.reason


def test_precisions_stand_below_each_other_and_a_specialist_says_its_own() -> None:
    model = bnsbench.wrap(Linear().eval(), shape=(2,), name="normal")
    own = made_for(model)
    found = bnsbench.transfer(own, model=model, dtype=["float32", "float64"], **COMMON)
    assert list(found.table.dtype) == ["float32", "float64"]
    # A wrapped model has other weights in another precision.
    assert list(found.table.specialist) == ["itself", ""]
    assert model.dtype == torch.float32
    assert found.table.ceiling[1] > found.table.ceiling[0]


def test_specialists_are_trained_where_that_is_wanted(cache: Path) -> None:
    model = gaussian()
    table = replace(made_for(model, "euler"), name="ab2[grid=best]")
    row = bnsbench.transfer(table, model=model, guidance=2, train=True, **COMMON).table.iloc[0]
    assert row.specialist == table.name
    assert row.specialist_difference < 0
    assert row.specialist_forwards > 0
    assert not list((cache / "training").glob("*"))


def test_a_model_that_is_cast_in_place_takes_one_precision() -> None:
    model = digits_gmm()
    with pytest.raises(UsageError, match="cast in place"):
        bnsbench.transfer(made_for(gaussian()), model=model, dtype=["float32", "float64"], **COMMON)


def test_an_interval_takes_two_samples() -> None:
    with pytest.raises(UsageError, match="2 samples or more"):
        bnsbench.transfer(made_for(gaussian()), model=gaussian(), samples=1)


def test_blends_are_offered_in_python_too() -> None:
    model = gaussian()
    found = bnsbench.blend(made_for(model), made_for(model, "ab2", guidance=2.0), guidance=1)
    assert (found.name, found.guidance) == ("blend", 1.0)
    assert bnsbench.sample(model, found, count=2, guidance=1.0).shape == (2, 2)
    # It was not trained there, and what was stands beside it.
    for specialists, name in (((), ""), ([made_for(model, guidance=1.0)], "bns")):
        row = bnsbench.transfer(found, model=model, specialists=specialists, **COMMON).table.iloc[0]
        assert (row.guidance, row.specialist) == (1.0, name)
