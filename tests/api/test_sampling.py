"""`bnsbench.sample` from Python."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import bnsbench
from bnsbench.errors import DivergedError, NotApplicableError, UsageError
from bnsbench.models.digits.mixture import digits_gmm
from tests.api.networks import Labelled, Linear


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
    with pytest.warns(UserWarning, match="is used on other weights"):
        bnsbench.sample(other, artefact, count=2)


def test_a_solver_for_another_path_is_refused() -> None:
    model = bnsbench.wrap(Linear().eval(), shape=(2,))
    artefact = bnsbench.train(model, 2, pairs=16, iterations=1)
    other = bnsbench.wrap(Linear().eval(), shape=(2,), path="cosine")
    with pytest.raises(UsageError, match="trained on the condot path"):
        bnsbench.sample(other, artefact)


def test_one_text_is_a_text() -> None:
    text = "a red circle left of a blue square"
    one, listed = (bnsbench.sample("scenes", "euler", 2, count=2, texts=texts) for texts in (text, [text]))
    assert torch.equal(one, listed)


def test_conditions_are_one_for_each_sample() -> None:
    model = bnsbench.wrap(Labelled().eval(), shape=(2,), conditions=torch.tensor([0, 1]))
    given = bnsbench.sample(model, "euler", 4, count=2, condition=torch.tensor([0, 1]))
    assert torch.equal(given, bnsbench.sample(model, "euler", 4, count=2))
    with pytest.raises(UsageError, match="condition is for 1 samples, not for count=3"):
        bnsbench.sample(model, "euler", 4, count=3, condition=torch.tensor([0]))
    with pytest.raises(UsageError, match="texts or condition, not both"):
        bnsbench.sample(model, "euler", 4, count=1, condition=torch.tensor([0]), texts="zero")


def test_a_solver_for_another_interval_is_refused() -> None:
    model, other = (bnsbench.wrap(Linear().eval(), shape=(2,), interval=(0, end)) for end in (1, 0.5))
    artefact = bnsbench.train(model, 2, pairs=16, iterations=1)
    with pytest.raises(UsageError, match=r"on \[0.0, 1.0\]; this model has CondOT\(\) on \[0.0, 0.5\]"):
        bnsbench.sample(other, artefact)


@pytest.mark.parametrize("count", [0, -1])
def test_at_least_one_sample(count: int) -> None:
    with pytest.raises(UsageError, match="count takes a whole number of at least 1"):
        bnsbench.sample("ring8", "euler", 2, count=count)


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
    model = bnsbench.wrap(lambda t, x: x / (t[:, None] - t[:, None]), shape=(2,), check=False)
    with pytest.raises(DivergedError, match="'euler' at 2 NFE left the finite numbers"):
        bnsbench.sample(model, "euler", 2)


@pytest.fixture
def split() -> bnsbench.SolverArtefact:
    """A table of split columns for the digits under guidance 2."""
    model = digits_gmm()
    return bnsbench.SolverArtefact(
        solver=bnsbench.solver("euler", 4).split(2.0),
        path=model.path,
        interval=model.interval,
        model="digits-gmm",
        fingerprint=model.fingerprint(),
        guidance=2.0,
        name="bns",
    )


def test_split_columns_sample_under_their_own_guidance_alone(split: bnsbench.SolverArtefact) -> None:
    found = bnsbench.sample("digits-gmm", split, count=3, guidance=2.0)
    torch.testing.assert_close(found, bnsbench.sample("digits-gmm", "euler", 4, count=3, guidance=2.0))
    for scale in (0.0, 1.0):
        with pytest.raises(NotApplicableError, match=f"it is for w = 2 and cannot run at w = {scale:g}"):
            bnsbench.sample("digits-gmm", split, count=3, guidance=scale)
    table = bnsbench.compare("digits-gmm", {"split": split, "bare": split.solver}, guidance=1.0, samples=8)
    assert list(table["status"]) == ["skipped", "skipped"]
    assert all("cannot run at w = 1" in reason for reason in table["reason"])
    row = bnsbench.compare("digits-gmm", split, guidance=2.0, samples=8).iloc[0]
    assert (row["status"], row["nfe"], row["forwards"]) == ("ok", 4, 8)
