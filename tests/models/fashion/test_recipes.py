from __future__ import annotations

import math

import pytest
import torch

from bnsbench.models.fashion import recipes as module
from bnsbench.models.fashion.data import TEST, TRAINING, Fashion
from bnsbench.models.fashion.network import FashionClassifier, FashionNetwork
from bnsbench.models.fashion.recipes import (
    RECIPES,
    choose_pictures,
    classification_loss,
    classifier_learner,
    generator_learner,
    moved,
)
from bnsbench.models.layers import zeroed
from bnsbench.models.recipe import Course, seeded
from tests.models.fashion.files import write_data, write_part


@pytest.fixture
def course(tmp_path, monkeypatch) -> Course:
    write_data(tmp_path)
    monkeypatch.setattr(module, "BATCH", 16)
    monkeypatch.setattr(module, "CLASSIFIER_BATCH", 16)
    monkeypatch.setattr(module, "FashionNetwork", small)
    return Course(400, data=tmp_path)


def small() -> FashionNetwork:
    return FashionNetwork(channels=(8, 16, 16), blocks=(1, 1, 1), embedding=16, heads=2)


@pytest.mark.parametrize("name", ["fashion-ot", "fashion-vp"])
def test_generator_learns_and_repeats(course, name):
    first, second = generator_learner(name, course), generator_learner(name, course)
    for learner in (first, second):
        learner.done = 100  # past the first steps of the warm-up
    losses = [float(first.step()) for _ in range(15)]
    assert losses == [float(second.step()) for _ in range(15)]
    assert sum(losses[-5:]) < 0.95 * sum(losses[:5])
    assert all(parameter.grad is not None for parameter in first.network.parameters())


def test_classifier_learns(course):
    learner = classifier_learner(course)
    learner.done = 100
    losses = [float(learner.step()) for _ in range(15)]
    assert sum(losses[-5:]) < 0.95 * sum(losses[:5])


@pytest.mark.usefixtures("course")
def test_loss_of_a_classifier_that_knows_nothing_is_the_classes_entropy():
    blind = seeded(FashionClassifier)
    zeroed(blind.head)
    zeroed(blind.decoder)
    white = Fashion(torch.full((30, 1, 28, 28), 255, dtype=torch.uint8), torch.arange(30) % 10)
    loss = classification_loss(blind, torch.Generator().manual_seed(0), data=white)
    # Thumbnails of white pictures are 1, but less where the black rim comes in as they are moved.
    assert 0.8 * module.THUMBNAIL_WEIGHT < float(loss.detach()) - math.log(10) < module.THUMBNAIL_WEIGHT


def test_moved_pictures_are_seeded_and_keep_their_pixels():
    images = torch.full((200, 1, 28, 28), -1.0)
    images[:, :, 10:18, 10:13] = torch.linspace(0, 1, 24).reshape(8, 3)
    found = moved(images, torch.Generator().manual_seed(0))
    assert torch.equal(found, moved(images, torch.Generator().manual_seed(0)))
    assert torch.equal(found.flatten(1).sort(dim=1).values, images.flatten(1).sort(dim=1).values)
    tops = (found > -1).any(dim=3).float().argmax(dim=2).unique()
    assert tops.tolist() == [8, 9, 10, 11, 12]
    assert 60 < sum(bool(picture[picture > -1][0] > picture[picture > -1][1]) for picture in found) < 140  # mirrored


def test_shipped_pictures_are_the_first_of_each_class_in_turns(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHIPPED", 20)
    test = write_part(tmp_path, TEST, 60)
    chosen = choose_pictures(test)
    assert chosen["labels"].tolist() == list(range(10)) * 2
    # The k-th picture is of class 9 - k % 10, so the first two of class 0 stand at 9 and 19.
    assert torch.equal(chosen["levels"][[0, 10, 9]], test.levels[[9, 19, 0]])


def test_pictures_are_chosen_from_the_part_that_no_training_reads(tmp_path):
    write_part(tmp_path, TEST, 2000)
    assert not list(tmp_path.glob(f"{TRAINING}*"))
    trained = RECIPES["fashion-pictures"].train(Course(1, data=tmp_path), tmp_path / "checkpoint.pt")
    assert trained.tensors["levels"].shape == (2000, 1, 28, 28)
    assert trained.record == {"steps": 1}


def test_generator_is_drawn_from_the_seed():
    first, second = (seeded(FashionNetwork).classes.weight for _ in range(2))
    assert torch.equal(first, second)
