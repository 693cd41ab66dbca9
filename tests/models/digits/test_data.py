from __future__ import annotations

import sklearn.datasets
import torch

from bnsbench.models.digits.data import augment, load_digits, split_digits


def test_images_are_scikit_learn_s_scaled_to_plus_minus_one():
    data = sklearn.datasets.load_digits()
    images, labels = load_digits()
    torch.testing.assert_close((images.flatten(1) + 1) * 8, torch.tensor(data.data, dtype=torch.float32))
    assert labels.tolist() == data.target.tolist()
    assert images.min() == -1
    assert images.max() == 1


def test_split_is_a_partition():
    kept, held = split_digits()
    assert (len(kept.images), len(held.images)) == (1500, 297)
    both = torch.cat([kept.images, held.images]).flatten(1)
    everything = load_digits().images.flatten(1)
    assert sorted(map(tuple, both.tolist())) == sorted(map(tuple, everything.tolist()))


def test_augmentation_is_small_seeded_and_in_range():
    images = load_digits().images[:200]
    moved = augment(images, torch.Generator().manual_seed(3))
    assert torch.equal(moved, augment(images, torch.Generator().manual_seed(3)))
    assert moved.shape == images.shape
    assert moved.min() >= -1
    assert moved.max() <= 1
    to_itself = (moved - images).flatten(1).norm(dim=1)
    to_another = (moved - images.roll(1, 0)).flatten(1).norm(dim=1)
    assert (to_itself > 0.1).all()
    assert (to_itself < to_another).float().mean() > 0.95


def test_augmentation_keeps_the_background():
    blank = torch.full((10, 1, 8, 8), -1.0)
    torch.testing.assert_close(augment(blank, torch.Generator().manual_seed(0)), blank)
