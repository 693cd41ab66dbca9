"""`bnsbench.compare` from Python."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch

import bnsbench
from bnsbench.errors import UsageError
from bnsbench.truth.pairs import PairSource
from tests.api.networks import Linear


def test_values_against_the_closed_form() -> None:
    network = Linear().eval().double()
    model = bnsbench.wrap(network, shape=(2,), name="line")
    table = bnsbench.compare(model, ["euler", "rk4"], nfe=8, samples=40)
    x0 = PairSource(model, "line").initial("test", torch.arange(40))
    exact = network.exact(x0)
    for row in json.loads(table.to_json(orient="records")):
        errors = (bnsbench.solver(row["solver"], 8, model)(model.field(None), x0) - exact).square().mean(1)
        decibels = 10 * torch.log10(model.data_range**2 / errors).numpy()
        # The truth is solved to 1e-6, which rk4 comes near to.
        tolerance = 1e-3 if row["solver"] == "euler" else 0.5
        assert row["psnr"] == pytest.approx(decibels.mean(), abs=tolerance)
        assert row["psnr_mse"] == pytest.approx(10 * math.log10(model.data_range**2 / float(errors.mean())), abs=tolerance)
        assert row["psnr_p05"] == pytest.approx(np.quantile(decibels, 0.05), abs=tolerance)
        assert row["psnr_low"] < row["psnr"] < row["psnr_high"]
        assert (row["forwards"], row["train_forwards"], row["status"], row["reason"]) == (8, 0, "ok", "")
    assert table.attrs["ceiling"] > 100


def test_rows_are_solvers_by_budgets_and_skip_with_their_reason() -> None:
    table = bnsbench.compare("ring8", ["euler", "midpoint"], nfe=[3, 4], samples=8)
    assert list(zip(table.solver, table.nfe, table.status, strict=True)) == [
        ("euler", 3, "ok"),
        ("euler", 4, "ok"),
        ("midpoint", 3, "skipped"),
        ("midpoint", 4, "ok"),
    ]
    assert "spends 2, 4, 6, ... evaluations, not 3" in table.reason[2]
    assert math.isnan(table.psnr[2])


def test_trained_ones_are_trained_and_counted() -> None:
    model = bnsbench.wrap(Linear().eval(), shape=(2,))
    trained = bnsbench.train(model, 2, pairs=16, iterations=2)
    table = bnsbench.compare(model, ["euler[grid=best]", "bns[pairs=16,iterations=2]", trained], nfe=2, samples=8)
    assert list(table.nfe) == [2, 2, 2]
    assert (table.train_forwards > 0).all()
    assert table.psnr[1] == table.psnr[2]
    assert table.train_forwards[1] == sum(trained.training["forwards"].values())


def test_guided_evaluations_cost_two_forwards() -> None:
    table = bnsbench.compare("digits-gmm", "euler", nfe=2, guidance=2.0, samples=4)
    assert list(table.forwards) == [4]


def test_a_table_knows_its_own_budget() -> None:
    solver = bnsbench.solver("euler", 3, "ring8")
    table = bnsbench.compare("ring8", solver, samples=4)
    assert (table.solver[0], table.nfe[0]) == (f"table {solver.fingerprint()[:6]}", 3)
    assert pd.isna(table.train_forwards[0])  # it does not say how it was made


def test_rows_may_be_named() -> None:
    tables = {"a": bnsbench.solver("euler", 3, "ring8"), "b": bnsbench.solver("ab2", 3, "ring8")}
    assert list(bnsbench.compare("ring8", tables, samples=4).solver) == ["a", "b"]


def test_texts_with_commas_and_numbers_of_numpy_and_torch() -> None:
    numbers: dict[str, Any] = {"nfe": np.array([2, 3]), "samples": np.int64(4), "guidance": torch.tensor(0.0)}
    table = bnsbench.compare("ring8", "euler,ab2", **numbers)
    assert list(zip(table.solver, table.nfe, strict=True)) == [("euler", 2), ("euler", 3), ("ab2", 2), ("ab2", 3)]


def test_a_solver_of_another_path_is_a_row_that_says_so() -> None:
    model, other = (bnsbench.wrap(Linear().eval(), shape=(2,), path=path) for path in ("condot", "cosine"))
    table = bnsbench.compare(other, ["euler", bnsbench.train(model, 2, pairs=16, iterations=1)], nfe=2, samples=4)
    assert list(table.status) == ["ok", "skipped"]
    assert "trained on the condot path" in table.reason[1]


def test_a_solver_for_other_weights_is_told_to_the_listener() -> None:
    class Hears(bnsbench.Listener):
        """Keeps what the user should read."""

        texts: ClassVar[list[str]] = []

        def notice(self, text: str) -> None:
            self.texts.append(text)

    model, other = (bnsbench.wrap(Linear(k=k).eval(), shape=(2,)) for k in (1.0, 2.0))
    solver = bnsbench.train(model, 2, pairs=16, iterations=1)
    bnsbench.compare(other, solver, samples=4, listener=Hears())
    assert any("is used on other weights" in text for text in Hears.texts)


def test_a_solver_elsewhere_is_a_warning_without_a_listener_and_a_skipped_row_if_strict() -> None:
    model, other = (bnsbench.wrap(Linear(k=k).eval(), shape=(2,)) for k in (1.0, 2.0))
    solver = bnsbench.tune(model, 2, solver="ab2", tolerance=1e-2)
    with pytest.warns(UserWarning, match="and is used on other weights"):
        assert list(bnsbench.compare(other, solver, samples=4).status) == ["ok"]
    strict = bnsbench.compare(other, ["euler", solver], nfe=2, samples=4, strict=True)
    assert list(strict.status) == ["ok", "skipped"]
    assert "Train one there" in strict.reason[1]
    with pytest.raises(UsageError, match="Train one there"):
        bnsbench.sample(other, solver, count=2, strict=True)


def test_a_name_that_there_is_not_costs_nothing(cache: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'euler'"):
        bnsbench.compare("ring8", ["bns[pairs=16]", "eulr"], 2)
    assert not cache.exists()


def test_what_was_trained_is_not_left_behind(cache: Path) -> None:
    bnsbench.compare("ring8", "bns[pairs=16,iterations=1]", 2, samples=4)
    assert not list((cache / "training").glob("*"))


def test_a_solver_that_diverges_is_a_row() -> None:
    ends, one = torch.tensor([0.0, 1.0]).double(), torch.ones(1).double()
    solver = bnsbench.NonStationarySolver(ends, 1e308 * one, 1e308 * one[:, None])
    table = bnsbench.compare("ring8", solver, samples=4)
    assert (table.status[0], table.reason[0]) == ("diverged", "Its samples left the finite numbers.")


@pytest.mark.parametrize(
    ("solvers", "nfe", "sentence"),
    [
        ("euler", None, "'euler' needs a budget"),
        (["eulr"], 4, "did you mean 'euler'"),
        ("absent.json", None, "cannot be read"),
        ("euler", 0, "nfe takes a whole number of at least 1, not 0"),
        ("euler", 4.5, "nfe takes a whole number, not 4.5"),
    ],
)
def test_misuse(solvers, nfe, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        bnsbench.compare("ring8", solvers, nfe, samples=4)
