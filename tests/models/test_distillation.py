"""Distillation against what Euler's and the midpoint rule do to x' = k x in closed form."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from bnsbench.errors import NotApplicableError, UsageError
from bnsbench.flows.fields import FunctionField
from bnsbench.flows.paths import CondOT
from bnsbench.models import pretrain as pretraining
from bnsbench.models.digits.model import digits_ot
from bnsbench.models.digits.recipes import CHAINS
from bnsbench.models.distillation import NFE, distillation_loss, from_cpu, in_two_steps, solved, student_name, with_weights
from bnsbench.models.learning import Learner, learn
from bnsbench.models.pretrain import RECIPES, pretrain
from bnsbench.models.students import progressive_distillation
from bnsbench.models.weights import WEIGHTS, folder_with, read_manifest

X = torch.linspace(-1.0, 1.0, 12).reshape(6, 2)
T = torch.tensor([0.0, 0.25, 0.5, 0.75, 0.0, 0.5])
LABELS = torch.zeros(6, dtype=torch.int64)


class Rate(nn.Module):
    """The velocity k x, whatever clock and labels say."""

    def __init__(self, k: float) -> None:
        super().__init__()
        self.k = nn.Parameter(torch.tensor(k))

    def forward(self, clock, x, labels):
        return self.k * x


class Clock(nn.Module):
    """The velocity that the clock is."""

    def forward(self, clock, x, labels):
        return clock[:, None].expand_as(x)


def draw(generator):
    return torch.randn(64, 2, generator=generator), torch.zeros(64, dtype=torch.int64)


def test_a_teacher_takes_two_steps_of_euler():
    """x (1 + k h)^2 with h half the student's step."""
    teach = in_two_steps(Rate(-0.8), nfe=4)
    torch.testing.assert_close(teach(T, X, LABELS), X * (1 - 0.8 / 8) ** 2)


def test_a_teacher_is_asked_at_the_times_of_its_own_steps():
    """With u = 2 t - 1 the steps from t and t + h add h (2 t - 1) + h (2 t + 2 h - 1)."""
    h = 1 / 8
    expected = X + (h * (4 * T + 2 * h - 2))[:, None]
    torch.testing.assert_close(in_two_steps(Clock(), nfe=4)(T, X, LABELS), expected)


def test_the_first_teacher_solves_the_model_by_the_midpoint_rule():
    teach = solved(lambda condition: FunctionField(lambda t, x: -0.8 * x, CondOT(), (0.0, 1.0)), nfe=4)
    h = 1 / 8
    torch.testing.assert_close(teach(T, X, LABELS), X * (1 - 0.8 * h + 0.5 * (0.8 * h) ** 2) ** 2)


def test_a_student_learns_the_rate_of_two_steps_in_one(tmp_path):
    """(1 + k h)^2 = 1 + 2 h k' for k' = k + k^2 h / 2."""
    teach, student = in_two_steps(Rate(-0.8), nfe=2), Rate(-0.8)
    loss = partial(distillation_loss, draw=draw, teach=teach, nfe=2)
    learner = Learner(student, loss, 400, rate=3e-2, seed=0)
    learn(learner, tmp_path / "checkpoint.pt", "rate", progress=False)
    assert float(learner.average.k.detach()) == pytest.approx(-0.8 + 0.64 / 8, abs=2e-3)


def test_a_student_sees_the_times_of_its_own_steps_alike():
    """A student that answers with its clock is right where the target is: its error tells the times that it was asked at."""
    seen = []

    class Watch(nn.Module):
        def forward(self, clock, x, labels):
            seen.append(clock)
            return torch.zeros_like(x)

    distillation_loss(Watch(), torch.Generator().manual_seed(0), draw=draw, teach=lambda t, x, c: x, nfe=4)
    times, counts = torch.unique(seen[0], return_counts=True)
    assert times.tolist() == [-1.0, -0.5, 0.0, 0.5]
    assert counts.tolist() == [16, 16, 16, 16]


def test_noise_of_the_loss_is_on_the_path():
    """At t = 0, the only time of a student of one step, its input is noise whatever the data are."""
    inputs = []

    class Watch(nn.Module):
        def forward(self, clock, x, labels):
            inputs.append(x)
            return torch.zeros_like(x)

    far = lambda generator: (torch.full((500, 2), 100.0), torch.zeros(500, dtype=torch.int64))  # noqa: E731
    distillation_loss(Watch(), torch.Generator().manual_seed(0), draw=far, teach=lambda t, x, c: x, nfe=1)
    assert float(inputs[0].mean()) == pytest.approx(0.0, abs=0.1)
    assert float(inputs[0].std()) == pytest.approx(1.0, abs=0.1)


def test_draws_of_the_cpu_serve_its_own_generator():
    generator = torch.Generator().manual_seed(3)
    expected = draw(torch.Generator().manual_seed(3))
    assert all(torch.equal(a, b) for a, b in zip(from_cpu(draw, "cpu")(generator), expected, strict=True))


def test_names_of_students():
    assert [student_name("digits-ot", w, 8) for w in (0.0, 2.0, 6.5)] == [
        "digits-ot-pd8",
        "digits-ot-w2-pd8",
        "digits-ot-w6.5-pd8",
    ]
    assert {f"{model}{w}-pd{n}" for model in ("digits-ot", "fashion-ot", "scenes") for w in ("", "-w2") for n in NFE} <= set(
        RECIPES
    )


def test_pretraining_a_student_trains_its_teachers_first_and_counts_all_of_it(tmp_path, monkeypatch):
    """A batch costs 4 guided evaluations or 2 forwards of the teacher, and a forward and a backward pass of the student."""
    monkeypatch.setattr(pretraining, "RECIPES", {name: without_figures(recipe) for name, recipe in RECIPES.items()})
    pretrain("digits-ot-w2-pd8", tmp_path, steps=3, progress=False)
    records = {name: entry["training"] for name, entry in read_manifest(tmp_path).items()}
    assert sorted(records) == ["digits-ot-w2-pd16", "digits-ot-w2-pd8"]
    images = 3 * 256
    assert records["digits-ot-w2-pd16"]["chain"] == {"images": images, "teacher": 8 * images, "training": 3 * images}
    assert records["digits-ot-w2-pd8"]["chain"] == {"images": 2 * images, "teacher": 10 * images, "training": 6 * images}
    student = with_weights(digits_ot(), "digits-ot-w2-pd8", tmp_path)
    x, labels = torch.randn(4, 1, 8, 8), torch.arange(4)
    asked = student.predict(torch.tensor(0.5), x, labels)
    assert (asked - digits_ot().predict(torch.tensor(0.5), x, labels)).abs().max() > 1e-4
    assert student.fingerprint() != digits_ot().fingerprint()

    monkeypatch.setenv("BNSBENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("bnsbench.models.students.WEIGHTS", tmp_path / "none")
    found = progressive_distillation(digits_ot(), 2.0, 8)
    assert (found.forwards, found.images) == ({"teacher": 10 * images, "training": 6 * images}, 2 * images)
    assert found.parameters == sum(each.numel() for each in student.network.parameters())
    with pytest.raises(NotApplicableError, match="No student of 4 steps was distilled from this model at w = 2"):
        progressive_distillation(digits_ot(), 2.0, 4)
    with pytest.raises(NotApplicableError, match="No student of 8 steps"):
        progressive_distillation(digits_ot(), 0.0, 8)


def without_figures(recipe):
    return replace(recipe, measure=lambda folder: {})


def test_figures_of_a_student(tmp_path):
    """The model itself as its student: Euler's rule with 16 steps, whose PSNR another test of the digits knows too."""
    (chain, *_) = CHAINS
    network = WEIGHTS / "digits-ot.safetensors"
    (tmp_path / "digits-ot-pd16.safetensors").write_bytes(network.read_bytes())
    entry = {**read_manifest()["digits-ot"], "file": "digits-ot-pd16.safetensors"}
    (tmp_path / "manifest.json").write_text(json.dumps({"digits-ot-pd16": entry}))
    figures = RECIPES[chain.student(16)].measure(tmp_path)
    assert figures["psnr"] == pytest.approx(read_manifest()["digits-ot"]["training"]["figures"]["euler16_db_w0"], abs=0.7)
    assert figures["right"] > 0.85


def test_weights_that_are_nowhere_are_said_how_to_make(tmp_path):
    with pytest.raises(UsageError, match="bnsbench pretrain digits-ot-pd4 makes them"):
        folder_with("digits-ot-pd4", (tmp_path,))


def test_students_learn_from_the_data_of_their_teachers():
    for teacher in ("digits-ot", "fashion-ot", "scenes"):
        assert RECIPES[f"{teacher}-pd4"].data == RECIPES[teacher].data
        assert "cuda" in RECIPES[f"{teacher}-w2-pd4"].devices
