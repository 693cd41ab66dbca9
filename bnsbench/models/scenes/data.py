"""Captioned scenes: two coloured shapes beside or above each other on a plain ground, drawn anti-aliased at 32x32 pixels."""

from __future__ import annotations

import re
from typing import NamedTuple

import torch
from torch import Tensor

from bnsbench.errors import UsageError

SIZE = 32
SHAPE = (3, SIZE, SIZE)
COLOURS = {
    "red": (0.90, 0.15, 0.15),
    "green": (0.15, 0.75, 0.25),
    "blue": (0.20, 0.35, 0.95),
    "yellow": (0.95, 0.85, 0.15),
    "purple": (0.65, 0.25, 0.80),
    "cyan": (0.20, 0.85, 0.90),
}
"""RGB in [0, 1] by name."""
SHAPES = ("circle", "square", "triangle", "cross")
RELATIONS = ("left of", "right of", "above", "below")
EXAMPLE = "a red circle left of a blue square"

VOCABULARY = ("", *COLOURS, *SHAPES, *(relation.split()[0] for relation in RELATIONS))
"""Words by token; token 0 stands for no word."""
_SILENT = ("a", "an", "the", "of", "is")
_PLACES = (len(COLOURS), len(SHAPES), len(RELATIONS), len(COLOURS), len(SHAPES))
"""The number of words for each token of a caption: colour, shape, relation, colour, shape."""
_FIRST = (1, 7, 11, 1, 7)
"""The token of the first of them."""

LENGTH = len(_PLACES)
CAPTIONS = len(COLOURS) ** 2 * len(SHAPES) ** 2 * len(RELATIONS)
_STRIDE = 1429
"""Has no factor in common with the number of captions, so multiples of it visit them all."""

ATTRIBUTES = {"layout": 2, "first colour": 6, "first shape": 4, "second colour": 6, "second shape": 4}
"""The attributes of an image, with the number of values; the first object is the one at the left or at the top."""


_SIN_60 = 0.75**0.5


class Scenes(NamedTuple):
    """Images [n, 3, 32, 32] in [-1, 1], float32, and the tokens [n, 5] of their captions, int64."""

    images: Tensor
    tokens: Tensor


def tokenise(caption: str) -> Tensor:
    """Return the tokens [5] of a caption such as "a red circle left of a blue square"; UsageError for any other text."""
    words = [word for word in re.findall(r"[a-z0-9]+", caption.lower()) if word not in _SILENT]
    unknown = [word for word in words if word not in VOCABULARY]
    if unknown:
        known = ", ".join([*COLOURS, *SHAPES, *RELATIONS])
        raise UsageError(f"The scenes do not know the word {unknown[0]!r} in {caption!r}; they know {known}.")
    tokens = torch.tensor([VOCABULARY.index(word) for word in words], dtype=torch.int64)
    first, places = torch.tensor(_FIRST), torch.tensor(_PLACES)
    if len(tokens) != LENGTH or not bool(((tokens >= first) & (tokens < first + places)).all()):
        raise UsageError(f"A scene is described like {EXAMPLE!r}, not {caption!r}.")
    return tokens


def captions(tokens: Tensor) -> list[str]:
    """Return the captions of tokens [n, 5]."""
    spoken = {relation.split()[0]: relation for relation in RELATIONS}
    rows = [[VOCABULARY[token] for token in row] for row in tokens.tolist()]
    return [f"a {colour} {shape} {spoken[how]} a {other} {form}" for colour, shape, how, other, form in rows]


def caption_tokens(numbers: Tensor) -> Tensor:
    """Return the tokens [n, 5] of the captions with these numbers, modulo `CAPTIONS`; neighbours share few words."""
    rest = numbers.to(torch.int64) * _STRIDE % CAPTIONS
    values = []
    for size in _PLACES:
        values.append(rest % size)
        rest = rest // size
    return torch.stack(values, dim=-1) + torch.tensor(_FIRST)


def attributes(tokens: Tensor) -> Tensor:
    """Return the values [n, 5] of `ATTRIBUTES` that captions [n, 5] ask for."""
    colour, shape, relation, other_colour, other_shape = (tokens - torch.tensor(_FIRST)).unbind(1)
    said = torch.stack([colour, shape, other_colour, other_shape], dim=1)
    swapped = said[:, [2, 3, 0, 1]]  # "right of" and "below" name the second object first
    objects = torch.where((relation % 2 == 1)[:, None], swapped, said)
    return torch.cat([relation[:, None] // 2, objects], dim=1)


def random_scenes(count: int, generator: torch.Generator) -> Scenes:
    """Return scenes of random captions."""
    tokens = caption_tokens(torch.randint(0, CAPTIONS, (count,), generator=generator))
    return Scenes(draw(tokens, generator), tokens)


def draw(tokens: Tensor, generator: torch.Generator) -> Tensor:
    """Return images [n, 3, 32, 32] in [-1, 1] of captions [n, 5], with random positions, sizes and grey of the ground."""
    layout, *objects = attributes(tokens).unbind(1)
    uniform = torch.rand(7, len(tokens), generator=generator)
    picture = (0.05 + 0.15 * uniform[0])[:, None, None, None].expand(-1, *SHAPE)
    paints = torch.tensor(list(COLOURS.values()))
    for place in range(2):
        colour, shape = objects[2 * place : 2 * place + 2]
        along, across, size = uniform[1 + 3 * place : 4 + 3 * place]
        # In pixels. Along the layout's axis the two are too far apart to touch.
        first, other = 7.5 + 16.0 * place + 3.0 * (along - 0.5), 16.0 + 10.0 * (across - 0.5)
        x, y = torch.where(layout == 0, first, other), torch.where(layout == 0, other, first)
        cover = (0.5 - _distance(shape, x, y, 4.5 + 1.7 * size)).clamp(0.0, 1.0)[:, None]
        picture = torch.lerp(picture, paints[colour][:, :, None, None].expand_as(picture), cover)
    return 2.0 * picture - 1.0


def _distance(shape: Tensor, x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
    """Return each pixel's signed distance [n, 32, 32] to the shapes' outlines, negative inside."""
    grid = torch.arange(SIZE) + 0.5
    dx, dy = (grid - x[:, None])[:, None, :], (grid - y[:, None])[:, :, None]
    r = radius[:, None, None]
    right, down = dx.abs(), dy.abs()
    circle = (dx.square() + dy.square()).sqrt() - r
    square = torch.maximum(right, down) - 0.85 * r
    # The sides of an upright equilateral triangle: one below, two that rise at 60 degrees.
    triangle = torch.maximum(dy, _SIN_60 * right - 0.5 * dy) - 0.6 * r
    bar = 0.36 * r
    cross = torch.minimum(torch.maximum(right - r, down - bar), torch.maximum(right - bar, down - r))
    every = torch.stack([one.expand(len(x), SIZE, SIZE) for one in (circle, square, triangle, cross)])
    return every[shape, torch.arange(len(x))]
