"""`bnsbench.sample` from Python."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import bnsbench
from bnsbench.errors import DivergedError, UsageError
from tests.api.networks import Linear


def test_by_name_by_table_and_by_artefact_alike(tmp_path: Path) -> None:
    model = bnsbench.wrap(Linear().eval(), shape=(2,))
    table = bnsbench.solver("midpoint", 4, model)
    artefact = bnsbench.SolverArtefact(
        solver=table,
        path=model.path,
        interval=model.interval,
        model="linear",
        fingerprint=model.fingerprint(),
        guidance=0.0,
        name="mine",
    )
    artefact.save(tmp_path / "mine.json")
    expected = bnsbench.sample(model, "midpoint", 4, count=3)
    for solver in (table, artefact, tmp_path / "mine.json", str(tmp_path / "mine.json")):
        assert torch.equal(bnsbench.sample(model, solver, count=3), expected)


def test_seeds_and_counts() -> None:
    four, three = (bnsbench.sample("ring8", "euler", 4, count=count) for count in (4, 3))
    assert torch.equal(four[:3], three)
    assert not torch.equal(bnsbench.sample("ring8", "euler", 4, count=3, seed=1), three)


def test_texts_take_turns() -> None:
    texts = ("a red circle left of a blue square", "a green cross above a red cross")
    both = bnsbench.sample("scenes", "bns", 4, count=2, guidance=2.0, texts=texts)
    assert both.shape == (2, 3, 32, 32)
    assert not torch.equal(both[0], both[1])


def test_a_solver_for_other_weights_warns() -> None:
    model, other = (bnsbench.wrap(Linear(k=k).eval(), shape=(2,)) for k in (1.0, 2.0))
    artefact = bnsbench.train(model, 2, pairs=16, iterations=1)
    with pytest.warns(UserWarning, match="trained for other weights"):
        bnsbench.sample(other, artefact, count=2)


def test_a_solver_for_another_path_is_refused() -> None:
    model = bnsbench.wrap(Linear().eval(), shape=(2,))
    artefact = bnsbench.train(model, 2, pairs=16, iterations=1)
    other = bnsbench.wrap(Linear().eval(), shape=(2,), path="cosine")
    with pytest.raises(UsageError, match="trained on the condot path"):
        bnsbench.sample(other, artefact)


@pytest.mark.parametrize(
    ("solver", "nfe", "sentence"),
    [
        ("euler", None, "needs a budget"),
        ("midpoint", 3, "'midpoint' spends 2, 4, 6, ... evaluations, not 3"),
        ("bns", 8, "has to be trained for its model"),
        ("absent.json", None, "cannot be read"),
    ],
)
def test_misuse(solver: str, nfe: int | None, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        bnsbench.sample("ring8", solver, nfe)


def test_samples_that_leave_the_finite_numbers() -> None:
    model = bnsbench.wrap(lambda t, x: x / (t[:, None] - t[:, None]), shape=(2,))
    with pytest.raises(DivergedError, match="'euler' at 2 NFE left the finite numbers"):
        bnsbench.sample(model, "euler", 2)
