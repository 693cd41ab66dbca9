from __future__ import annotations

import pytest
import torch

from bnsbench.errors import UsageError
from bnsbench.models.scenes import data
from bnsbench.models.scenes.data import (
    CAPTIONS,
    COLOURS,
    attributes,
    caption_tokens,
    captions,
    draw,
    random_scenes,
    tokenise,
)


def drawn(caption: str, count: int = 50) -> torch.Tensor:
    """Images [n, 3, 32, 32] in [0, 1] of one caption."""
    tokens = tokenise(caption).expand(count, -1)
    return (draw(tokens, torch.Generator().manual_seed(0)) + 1) / 2


def where(images: torch.Tensor, colour: str) -> torch.Tensor:
    """Mean position [n, 2], down and right, of the pixels of that colour."""
    near = (images - torch.tensor(COLOURS[colour])[:, None, None]).abs().amax(1) < 0.02
    grid = torch.stack(torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij"))
    weights = near / near.sum((1, 2), keepdim=True)
    return torch.einsum("nhw,dhw->nd", weights, grid)


def test_captions_are_their_tokens_in_words():
    assert captions(tokenise("A red circle, left of the blue square!")[None]) == ["a red circle left of a blue square"]
    everything = caption_tokens(torch.arange(CAPTIONS))
    texts = captions(everything)
    assert len(set(texts)) == CAPTIONS == 2304
    assert torch.equal(torch.stack([tokenise(text) for text in texts[:200]]), everything[:200])
    assert torch.equal(caption_tokens(torch.tensor([CAPTIONS + 5])), everything[5:6])


@pytest.mark.parametrize(
    ("caption", "complaint"),
    [
        ("a pink circle left of a blue square", "do not know the word 'pink'"),
        ("a red circle", "is described like 'a red circle left of a blue square'"),
        ("circle red left of a blue square", "is described like"),
        ("", "is described like"),
    ],
)
def test_other_texts_are_refused(caption, complaint):
    with pytest.raises(UsageError, match=complaint):
        tokenise(caption)


@pytest.mark.parametrize(
    ("relation", "axis", "sign"), [("left of", 1, -1), ("right of", 1, 1), ("above", 0, -1), ("below", 0, 1)]
)
def test_objects_lie_as_the_caption_has_it(relation, axis, sign):
    images = drawn(f"a red circle {relation} a blue square")
    apart = where(images, "red") - where(images, "blue")
    assert (sign * apart[:, axis] > 10).all()


def test_attributes_name_the_left_or_upper_object_first():
    said = [
        attributes(tokenise(f"a green cross {relation} a yellow circle")[None])[0].tolist() for relation in data.RELATIONS
    ]
    assert said == [[0, 1, 3, 3, 0], [0, 3, 0, 1, 3], [1, 1, 3, 3, 0], [1, 3, 0, 1, 3]]


@pytest.mark.parametrize(("shape", "area"), [("circle", 3.1416), ("square", 2.89), ("triangle", 1.8706), ("cross", 2.3616)])
def test_shapes_have_their_areas(shape, area):
    # Of radius r: pi r^2, (1.7 r)^2, 3 sqrt(3) (0.6 r)^2 and 4 (2 * 0.36 - 0.36^2) r^2, r uniform on [4.5, 6.2].
    images = drawn(f"a red {shape} left of a blue circle", 400)
    ground = images[:, :1, :1, 0]
    cover = (images[:, 0, :, :15] - ground) / (COLOURS["red"][0] - ground)
    assert cover.sum((1, 2)).mean() == pytest.approx(area * (5.35**2 + 1.7**2 / 12), rel=0.04)


def test_scenes_repeat_and_keep_their_range():
    first, second = (random_scenes(100, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.tokens, second.tokens)
    assert first.images.shape == (100, 3, 32, 32)
    assert first.images.dtype == torch.float32
    assert first.images.abs().max() <= 1
    assert len(set(captions(first.tokens))) > 90
