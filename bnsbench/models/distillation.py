"""Progressive distillation (Salimans & Ho 2022): every student takes in one step what its teacher takes two for."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from bnsbench.flows.fields import VelocityField
from bnsbench.models.embedded import EmbeddedNetwork
from bnsbench.models.learning import Learner, learn
from bnsbench.models.recipe import SEED, Course, Recipe, Trained, trained
from bnsbench.models.weights import WEIGHTS, folder_with, load_network, read_manifest, weights_fingerprint
from bnsbench.solvers.runge_kutta import euler
from bnsbench.truth.ground_truth import solve
from bnsbench.truth.noise import noise
from bnsbench.truth.psnr import psnr_per_sample

NFE = (16, 8, 4, 2, 1)
"""Steps of the students of a chain, each of which is the next one's teacher."""
LONGER = {2: 2, 1: 2}
"""How many times the steps of training the students of few steps get, as in the paper."""
GUIDED_LONGER = 3
"""How many times that of a chain's first student if it has to learn the guidance, which no other starts without."""
SOLVED = 4
"""Evaluations of the model with which the first student's step is solved: two steps of the midpoint rule."""
BACKWARD = 2
"""Forwards as which a backward pass counts, as everywhere."""
SAMPLES = 200
TOLERANCE = 1e-4

Draw = Callable[[torch.Generator], tuple[Tensor, Tensor]]
"""Draws a batch of data [n, ...] and its conditions [n, ...]."""
Teach = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Returns where the teacher takes states [n, ...] from times [n] under conditions in the time of a student's step."""


@dataclass(frozen=True)
class Chain:
    """The students of a model that predicts the velocity on CondOT, where a step of DDIM is one of Euler's rule.

    teacher: its name, which is that of its weights.
    guidance: the scale w of the field that students learn; they predict it without a forward of no condition.
    model: returns the teacher.
    data: returns for a course and a batch size what draws batches.
    batch: samples in a step of training.
    steps: of training of a student; some get a multiple.
    rate: the peak of the learning rate.
    folder: where the files of the data set are, if the package does not bring them.
    """

    teacher: str
    guidance: float
    model: Callable[[], EmbeddedNetwork]
    data: Callable[[Course, int], Draw]
    batch: int
    steps: int
    rate: float
    folder: Path | None = None

    def student(self, nfe: int) -> str:
        """Return the name of the student of that many steps, which is that of its weights."""
        return student_name(self.teacher, self.guidance, nfe)

    def training_steps(self, nfe: int) -> int:
        """Return the steps of training of the student of that many steps."""
        learns_guidance = nfe == NFE[0] and self.guidance != 0
        return self.steps * (GUIDED_LONGER if learns_guidance else LONGER.get(nfe, 1))

    def before(self, nfe: int) -> str:
        """Return the name of that student's teacher, "" if it is the model."""
        return "" if nfe == NFE[0] else self.student(2 * nfe)


def student_name(teacher: str, guidance: float, nfe: int) -> str:
    """Return the name of a student, such as digits-ot-pd8 or, under guidance, digits-ot-w2-pd8."""
    return f"{teacher}{f'-w{guidance:g}' if guidance else ''}-pd{nfe}"


def with_weights(model: EmbeddedNetwork, name: str, folder: Path) -> EmbeddedNetwork:
    """Return the model that a student is: its teacher's, with the weights of that name; see `load_network` for errors."""
    network = load_network(lambda: deepcopy(model.network), name, folder)
    return model.with_network(network, weights_fingerprint(name, folder))


def distillation_loss(network: nn.Module, generator: torch.Generator, *, draw: Draw, teach: Teach, nfe: int) -> Tensor:
    """Return the mean squared error of a student's velocity on one batch, at the times where its steps begin.

    The target at x_t = (1 - t) x_0 + t x_1 is the velocity that in one step of Euler's rule leads where the teacher goes.

    Args:
        network: The student in training, network(2 t - 1, x, condition).
        generator: Of the batch, the noise and the times; all is drawn on its device.
        draw: Draws the batch.
        teach: Takes a state through the time of a student's step.
        nfe: The student's steps.
    """
    x1, condition = draw(generator)
    n, device = len(x1), x1.device
    places = (torch.arange(n, device=device) + torch.rand(n, generator=generator, device=device)) / n
    t = (nfe * places).floor().clamp(max=nfe - 1) / nfe
    x0 = torch.randn(x1.shape, generator=generator, device=device)
    x = torch.lerp(x0, x1, t.reshape(n, *(1,) * (x1.ndim - 1)))
    with torch.no_grad(), torch.autocast(device.type, enabled=False):  # what is copied is the teacher in full precision
        target = nfe * (teach(t, x, condition) - x)
    return mse_loss(network(2.0 * t - 1.0, x, condition), target)


def from_cpu(draw: Draw, device: str) -> Draw:
    """Return what draws on the CPU, where some data can only be made, and takes batches to the device."""

    def drawn(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        if generator.device.type != "cpu":
            seed = torch.randint(2**62, (1,), generator=generator, device=generator.device)
            generator = torch.Generator().manual_seed(int(seed))
        x1, condition = draw(generator)
        return x1.to(device), condition.to(device)

    return drawn


def in_two_steps(network: nn.Module, nfe: int) -> Teach:
    """Return the teacher that is the student of 2 nfe steps: two steps of Euler's rule."""
    h = 0.5 / nfe

    def teach(t: Tensor, x: Tensor, condition: Tensor) -> Tensor:
        x = x + h * network(2.0 * t - 1.0, x, condition)
        end: Tensor = x + h * network(2.0 * (t + h) - 1.0, x, condition)
        return end

    return teach


def solved(field_of: Callable[[Tensor], VelocityField], nfe: int) -> Teach:
    """Return the teacher that is the model: two steps of the midpoint rule on its field under the conditions."""
    h = 0.5 / nfe

    def teach(t: Tensor, x: Tensor, condition: Tensor) -> Tensor:
        field = field_of(condition)
        for start in (t, t + h):
            half = x + 0.5 * h * field(start, x)
            x = x + h * field(start + 0.5 * h, half)
        return x

    return teach


def chain_recipes(chain: Chain) -> dict[str, Recipe]:
    """Return the recipes of a chain's students, by name."""
    return {chain.student(nfe): _recipe(chain, nfe) for nfe in NFE}


def _recipe(chain: Chain, nfe: int) -> Recipe:
    return Recipe(
        chain.training_steps(nfe),
        partial(_train, chain, nfe),
        partial(measure_student, chain, nfe),
        {},
        chain.folder,
        devices=("cpu", "cuda"),
        after=chain.before(nfe),
    )


def _train(chain: Chain, nfe: int, course: Course, checkpoint: Path) -> Trained:
    """Train a student; its teacher's weights are beside the checkpoint, or among the shipped ones."""
    learner = student_learner(chain, nfe, course, checkpoint.parent)
    learner.seconds = course.seconds
    learn(learner, checkpoint, chain.student(nfe), course.progress)
    tensors, record = trained(learner)
    return Trained(tensors, {**record, **_costs(chain, nfe, learner.done, checkpoint.parent)})


def student_learner(chain: Chain, nfe: int, course: Course, folder: Path) -> Learner[nn.Module]:
    """Return the learner of a student, which begins as its teacher.

    Args:
        chain: Of the students.
        nfe: The student's steps.
        course: How the training goes.
        folder: Where the weights of earlier students are, if they are not shipped.
    """
    model = chain.model().to(course.device, torch.float32)
    before = chain.before(nfe)
    if before:
        model = with_weights(model, before, folder_with(before, (folder, WEIGHTS))).to(course.device, torch.float32)
        teach = in_two_steps(model.network, nfe)
    else:
        teach = solved(lambda condition: model.field(condition, chain.guidance), nfe)
    network = deepcopy(model.network).requires_grad_(True)
    loss = partial(distillation_loss, draw=chain.data(course, chain.batch), teach=teach, nfe=nfe)
    return Learner(network, loss, course.steps, chain.rate, SEED, device=course.device)


def _costs(chain: Chain, nfe: int, steps: int, folder: Path) -> dict[str, Any]:
    """Return what a student's manifest entry says besides: what it is, and what it and its teachers have cost together.

    ``teacher`` and ``training`` are forwards of teachers and of students, a backward pass counting as two.
    """
    before, model = chain.before(nfe), chain.model()
    images = steps * chain.batch
    taught = 2 if before else SOLVED * model.forwards_per_evaluation(chain.guidance)
    costs = {"images": images, "teacher": images * taught, "training": images * (1 + BACKWARD)}
    if before:
        earlier = read_manifest(folder_with(before, (folder, WEIGHTS)))[before]["training"]["chain"]
        costs = {name: count + earlier[name] for name, count in costs.items()}
    return {"model": model.fingerprint(), "guidance": chain.guidance, "nfe": nfe, "chain": costs}


def measure_student(chain: Chain, nfe: int, folder: Path) -> dict[str, float]:
    """Return the share of a student's samples that show what was asked for, and their PSNR in dB to the model's own.

    Args:
        chain: Of the students.
        nfe: The student's steps.
        folder: Of its weights.
    """
    model = chain.model()
    student, judge = with_weights(model, chain.student(nfe), folder), model.judge()
    x0 = noise(0, "student-gate", "validation", range(SAMPLES), model.shape).float()
    condition = model.conditions(torch.arange(SAMPLES))
    truth, _ = solve(model.field(condition, chain.guidance), x0, TOLERANCE)
    with torch.no_grad():
        samples = euler(student.field(condition), x0, nfe)
    figures = {"psnr": float(psnr_per_sample(samples, truth, model.data_range).mean())}
    if judge is not None and condition is not None:
        figures["right"] = float(judge.found(judge.shown(samples), condition).all(1).float().mean())
    return figures
