from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.training.distil import Choices, distil
from bnsbench.training.families.parametrisation import LinearMultistep
from bnsbench.training.optimisers.checkpoint import Checkpoint
from bnsbench.training.optimisers.gauss_newton import GaussNewton, Iterate
from bnsbench.training.problem import Cost, TrainingStatus
from bnsbench.truth.pairs import PairSource
from tests.training.toys import SOURCE, N, anchored, bend, free, interrupting, plane_source, problem, uniform


def lead_astray(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Make the second and third step lead out of the finite numbers; return the iterations that are made."""
    real, asked = GaussNewton.system, []

    def astray(self: GaussNewton, iterate: Iterate, iteration: int) -> tuple[Tensor, Tensor]:
        asked.append(iteration)
        gradient, curvature = real(self, iterate, iteration)
        return (1e308 * torch.ones_like(gradient), curvature) if iteration in (2, 3) else (gradient, curvature)

    monkeypatch.setattr(GaussNewton, "system", astray)
    return asked


TRAININGS: dict[str, dict[str, Any]] = {
    "legs": {"iterations": 2},
    "halting": {"iterations": 5, "gain": 100.0},
    "alternating": {"iterations": 1},
    "soft": {"iterations": 2, "objective": "soft-log-mse"},
    "forward": {"iterations": 1, "derivative": "forward"},
    "trajectory": {"iterations": 1, "objective": "log-trajectory"},
    "astray": {"iterations": 4},
    "sharpened": {"iterations": 2},
}


@pytest.mark.parametrize("kind", TRAININGS)
def test_wherever_it_is_interrupted_a_training_goes_on_to_the_same_end(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = plane_source(bend, cache=tmp_path)
    if kind == "astray":
        lead_astray(monkeypatch)
    if kind == "sharpened":  # by long tables of so few evaluations that the student comes near them
        monkeypatch.setattr("bnsbench.training.teaching.LONG", (4, 5, 8))
    family, blocks = anchored(SOURCE, N) if kind == "alternating" else (free(), ())
    choices, file = Choices(pairs=64, **TRAININGS[kind]), tmp_path / "state.pt"

    def train(progress: Callable[[TrainingStatus], None], file: Path | None) -> tuple[NonStationarySolver, dict[str, Any]]:
        return distil(problem(source, progress=progress, checkpoint=file), N, family, choices, Cost(), blocks=blocks)

    told: list[TrainingStatus] = []
    table, record = train(told.append, None)
    legs = 6 if kind == "alternating" else 2
    starts = [status for status, before in zip(told[1:], told, strict=False) if status.iteration == before.iteration]
    assert len(starts) == legs - 1  # a leg begins with a check of where it starts
    assert len(told) > legs
    assert (record["rejected"] > 0) == (kind == "astray")
    assert (record["still"] > 0) == (kind == "astray")
    for stop in range(len(told)):
        seen: list[TrainingStatus] = []
        with pytest.raises(KeyboardInterrupt):
            train(interrupting(seen, stop), file)
        assert file.exists() == (stop > 0)
        resumed, again = train(seen.append, file)
        assert not file.exists()
        assert len(seen) == len(told) + 1  # only the check that was interrupted is made again
        if kind == "alternating":  # there a checkpoint holds the last row as a correction of the rule's, rounded
            torch.testing.assert_close(resumed.rows, table.rows, rtol=1e-9, atol=1e-11)
            torch.testing.assert_close(resumed.times, table.times, rtol=1e-11, atol=1e-13)
            values = [[point["loss"] for point in found["curve"]] for found in (again, record)]
            assert values[0] == pytest.approx(values[1], abs=1e-5)
            assert {**again, "curve": 0, "psnr": 0, "loss": 0} == {**record, "curve": 0, "psnr": 0, "loss": 0}
        else:
            assert torch.equal(resumed.rows, table.rows)
            assert torch.equal(resumed.times, table.times)
            assert again == record


def test_a_training_recovers_from_steps_that_diverge(monkeypatch: pytest.MonkeyPatch) -> None:
    """The descent goes on from where it was."""
    asked = lead_astray(monkeypatch)
    choices = Choices(pairs=60, iterations=6, floor=1.0)
    _, record = distil(problem(plane_source(bend)), 4, LinearMultistep(uniform(4)), choices, Cost())
    losses, iterations = ([point[key] for point in record["curve"]] for key in ("loss", "iteration"))
    assert record["rejected"] > 0
    assert record["still"] == 2
    assert asked == list(range(record["iterations"]))
    # An iteration without a gain ends the first leg; the second begins from there, and goes on after another.
    assert iterations[:7] == [0, 1, 2, 3, 3, 4, 5]
    assert losses[2] == losses[3] == losses[4] == losses[5] < losses[0]
    assert record["loss"] < losses[5] - 0.1


@pytest.mark.parametrize("optimiser", ["gauss-newton", "adam"])
def test_a_saved_state_is_read_once(
    optimiser: str, source: PairSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choices, file = Choices(pairs=16, iterations=60, optimiser=optimiser), tmp_path / "state.pt"
    told: list[TrainingStatus] = []
    reads: list[bool] = []
    load = Checkpoint.load

    def counted(self: Checkpoint) -> dict[str, Any] | None:
        found = load(self)
        reads.append(found is not None)
        return found

    def listen(status: TrainingStatus) -> None:
        told.append(status)
        if len(told) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distil(problem(source, progress=listen, checkpoint=file), N, free(), choices, Cost())
    assert file.exists()
    monkeypatch.setattr(Checkpoint, "load", counted)
    distil(problem(source, checkpoint=file), N, free(), choices, Cost())
    assert reads == [True]
