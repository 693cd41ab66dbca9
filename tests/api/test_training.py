"""`bnsbench.train` and `bnsbench.tune` from Python."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import bnsbench
from bnsbench.api.named import named_model, open_host
from bnsbench.api.training import sources_of
from bnsbench.errors import NotApplicableError, UsageError
from tests.api.networks import Labelled, Linear


class Hears(bnsbench.Listener):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.trainings = 0

    def stage(self, text: str) -> None:
        self.stages.append(text)

    def training(self, status: object) -> None:
        del status
        self.trainings += 1


def test_a_network_is_wrapped_trained_and_sampled(tmp_path: Path) -> None:
    network = Linear().eval()
    model = bnsbench.wrap(network, shape=(3,))
    artefact = bnsbench.train(model, nfe=3, pairs=32, iterations=3)
    assert (artefact.solver.nfe, artefact.model, artefact.guidance) == (3, "linear", 0.0)
    assert artefact.fingerprint == model.fingerprint()
    artefact.save(tmp_path / "linear.json")
    samples = bnsbench.sample(model, tmp_path / "linear.json", count=4)
    x0 = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    field = model.field(None)
    torch.testing.assert_close(artefact.solver(field, x0), network.exact(x0).float(), rtol=0, atol=1e-4)
    assert samples.shape == (4, 3)


def test_ground_truth_is_solved_once(cache: Path) -> None:
    model = bnsbench.wrap(Linear().eval(), shape=(2,))
    first, second = Hears(), Hears()
    one = bnsbench.train(model, nfe=2, pairs=16, iterations=2, listener=first)
    two = bnsbench.train(model, nfe=2, pairs=16, iterations=2, listener=second)
    assert any("ground truth" in text for text in first.stages)
    assert not any("ground truth" in text for text in second.stages)
    assert second.trainings > 0
    assert one.solver.fingerprint() == two.solver.fingerprint()
    assert list((cache / "pairs").iterdir())
    assert not list((cache / "training").glob("*"))


def test_nothing_is_kept_of_a_function_that_cannot_be_known_again(cache: Path) -> None:
    scale, network = object(), Linear().eval()  # an object of a class that is not looked into
    model = bnsbench.wrap(lambda t, x: network(t, x) if scale else x, shape=(2,))
    bnsbench.train(model, nfe=2, pairs=16, iterations=1)
    assert not cache.exists()


def test_another_cache_folder(tmp_path: Path, cache: Path) -> None:
    bnsbench.tune(bnsbench.wrap(Linear().eval(), shape=(2,)), 2, solver="euler", cache=tmp_path / "mine")
    assert list((tmp_path / "mine" / "pairs").iterdir())
    assert not cache.exists()


def test_one_solver_for_several_guidance_scales() -> None:
    labels = torch.tensor([0, 1])
    model = bnsbench.wrap(Labelled().eval(), shape=(2,), conditions=labels, null_condition=torch.tensor(2))
    artefact = bnsbench.train(model, 2, guidance=(0.0, 2.0), weights=(1.0, 3.0), pairs=16, iterations=1)
    assert artefact.guidance == (0.0, 2.0)


def test_choices_reach_the_trainer() -> None:
    artefact = bnsbench.train("ring8", 4, init="heun", objective="mse", derivative="difference", pairs=32, iterations=2)
    assert artefact.name == "bns[derivative=difference,init=heun,iterations=2,objective=mse,pairs=32]"


def test_the_best_classic_and_its_grid() -> None:
    artefact = bnsbench.tune("ring8", 4, solver="ab2")
    assert artefact.name == "ab2[grid=best]"
    assert artefact.training["rule"] == "ab2"


def test_an_interrupted_training_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stops(Hears):
        def training(self, status: object) -> None:
            super().training(status)
            if self.trainings == 4:
                raise KeyboardInterrupt

    whole = Hears()
    expected = bnsbench.train("ring8", 4, pairs=32, iterations=6, listener=whole)
    with pytest.raises(KeyboardInterrupt):
        bnsbench.train("ring8", 4, pairs=32, iterations=6, listener=Stops())
    rest = Hears()
    found = bnsbench.train("ring8", 4, pairs=32, iterations=6, listener=rest)
    assert found.solver.fingerprint() == expected.solver.fingerprint()
    assert rest.trainings < whole.trainings


def test_a_path_that_no_file_could_name_is_refused_before_anything_is_computed(cache: Path) -> None:
    class Mine(bnsbench.paths.CondOT):
        """CondOT under a name of its own."""

        name = "mine"

    model = bnsbench.wrap(Linear().eval(), shape=(2,), check=False)
    model.path = Mine()  # as a model of a plugin may have it; wrap makes it one that a file can hold
    with pytest.raises(UsageError, match="could not be read again, because the path 'mine' is none of condot"):
        bnsbench.train(model, 2)
    assert not cache.exists()


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: bnsbench.train("ring8", 4, solver="euler"), "'euler' is not a trained one"),
        (lambda: bnsbench.train("ring9", 4), "did you mean 'ring8'"),
        (lambda: bnsbench.train("ring8", 4, tolerance=0), "The tolerance must lie between 0 and 1, not 0"),
        (lambda: bnsbench.train("ring8", 4, dtype="float8"), "There is no precision 'float8'"),
        (lambda: bnsbench.train("ring8", 4, weights=(1, 2)), "2 weights are given for 1 guidance scales"),
        (lambda: bnsbench.train("ring8", 4, solver="gs", init="euler"), "'gs' has no parameter 'init'"),
        (lambda: bnsbench.tune("ring8", 4, solver="bns"), "'bns' has no time grid to tune"),
        (lambda: bnsbench.tune("ring8", 6, solver="rk4"), "spends 4, 8, 12, ... evaluations, not 6"),
    ],
)
def test_misuse_is_one_sentence(call, sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        call()
    assert sentence in str(error.value)


def test_sources_share_a_model_and_differ_in_guidance() -> None:
    named = named_model(open_host(), "digits-gmm")
    sources = sources_of(named, [0.0, -0.0, 2.0], seed=3)
    assert [source.guidance for source in sources] == [0.0, 0.0, 2.0]
    assert str(sources[1].guidance) == "0.0"
    assert {id(source.model) for source in sources} == {id(named.model)}
    assert {source.seed for source in sources} == {3}


def test_split_columns_are_trained_kept_and_forgotten_with_the_table_that_they_go_on_from(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    selector = "bns[columns=split,pairs=32,iterations=2]"
    whole = Hears()
    artefact = bnsbench.train("digits-gmm", 3, guidance=2.0, solver=selector, listener=whole)
    assert artefact.name == "bns[columns=split,iterations=2,pairs=32]"
    assert (artefact.solver.guidance, artefact.solver.columns) == (2.0, 2)
    assert not list((cache / "training").iterdir())
    artefact.save(tmp_path / "split.json")
    samples = bnsbench.sample("digits-gmm", tmp_path / "split.json", count=2, guidance=2.0)
    assert bool(samples.isfinite().all())

    class Stops(Hears):
        def training(self, status: object) -> None:
            super().training(status)
            if self.trainings == whole.trainings - 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bnsbench.train("digits-gmm", 3, guidance=2.0, solver=selector, listener=Stops())
    rest = Hears()
    found = bnsbench.train("digits-gmm", 3, guidance=2.0, solver=selector, listener=rest)
    assert found.solver.fingerprint() == artefact.solver.fingerprint()
    # The table of velocities was finished, so that nothing of it is trained again.
    assert rest.trainings <= 2
    assert not list((cache / "training").iterdir())


def test_split_columns_of_what_answers_once_are_one_sentence() -> None:
    with pytest.raises(NotApplicableError, match="Without guidance a network answers once"):
        bnsbench.train("digits-gmm", 3, solver="bns[columns=split]")
    with pytest.raises(NotApplicableError, match="cannot serve 1, 2 at once"):
        bnsbench.train("digits-gmm", 3, guidance=(1.0, 2.0), solver="bns[columns=split]")
    row = bnsbench.compare("digits-gmm", "bns[columns=split]", 3, samples=4).iloc[0]
    assert (row["status"], row["reason"].split(",")[0]) == ("skipped", "Without guidance a network answers once")
