"""The architectures of the embedded digits: a residual MLP as generator and a small CNN as classifier."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, silu

from bnsbench.models.layers import ClockEmbedding


class ResidualBlock(nn.Module):
    """h + gate * MLP(scale * LayerNorm(h) + shift) for h [batch, width] (adaptive layer norm, Peebles & Xie 2023).

    forward(h, shift, scale, gate): the modulation is [batch or 1, width] each. Returns [batch, width].
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.into = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, h: Tensor, shift: Tensor, scale: Tensor, gate: Tensor) -> Tensor:
        y = torch.addcmul(shift, layer_norm(h, h.shape[-1:]), scale)
        return torch.addcmul(h, gate, self.out(silu(self.into(y))))


class ResidualMLP(nn.Module):
    """A class-conditional prediction network on vectors, modulated by clock and class.

    forward(clock, x, labels): clock is 0-d or [batch]; x is [batch, ...] of dim numbers each; labels are int64 in
    [0, classes], where the value ``classes`` means "no condition". Returns the shape of x.

    Args:
        dim: Numbers of a sample.
        classes: Their number.
        width: Of the residual stream.
        blocks: Residual blocks.
        embedding: Width of the embeddings of clock and class.
    """

    def __init__(self, dim: int, classes: int, *, width: int = 256, blocks: int = 4, embedding: int = 128) -> None:
        super().__init__()
        self.null = classes
        self.clock = ClockEmbedding(embedding)
        self.classes = nn.Embedding(classes + 1, embedding)
        self.inlet = nn.Linear(dim, width)
        self.blocks = nn.ModuleList(ResidualBlock(width) for _ in range(blocks))
        self.outlet = nn.Linear(width, dim)
        self.sections = [width] * (3 * blocks + 2) + [dim]
        self.modulation = nn.Linear(embedding, sum(self.sections))
        self._initialise()

    def _initialise(self) -> None:
        """Start as (almost) the zero function: neutral scales, small gates, a zero output layer."""
        nn.init.normal_(self.classes.weight, std=0.5)
        nn.init.zeros_(self.outlet.weight)
        nn.init.zeros_(self.outlet.bias)
        with torch.no_grad():
            self.modulation.weight.mul_(0.1)
            starts = [0.0, 1.0, 0.3] * len(self.blocks) + [0.0, 1.0, 0.0]
            bias = [torch.full((size,), start) for size, start in zip(self.sections, starts, strict=True)]
            self.modulation.bias.copy_(torch.cat(bias))

    def _modulate(self, clock: Tensor, labels: Tensor) -> Tensor:
        """Return the modulation [batch, sum(sections)]; at one common time it is computed once per class."""
        if clock.ndim == 0:
            table: Tensor = self.modulation(silu(self.clock(clock) + self.classes.weight))
            return table.index_select(0, labels)
        modulation: Tensor = self.modulation(silu(self.clock(clock) + self.classes(labels)))
        return modulation

    def forward(self, clock: Tensor, x: Tensor, labels: Tensor) -> Tensor:
        *sections, shift, scale, skip = torch.split(self._modulate(clock, labels), self.sections, dim=-1)
        flat = x.flatten(1)
        h = self.inlet(flat)
        for index, block in enumerate(self.blocks):
            h = block(h, *sections[3 * index : 3 * index + 3])
        y = torch.addcmul(shift, layer_norm(h, h.shape[-1:]), scale)
        return torch.addcmul(self.outlet(y), skip, flat).reshape(x.shape)


class DigitClassifier(nn.Module):
    """A three-layer CNN on images [batch, 1, 8, 8] in [-1, 1]; its normalised feature vector feeds the digit metrics.

    Besides the class, the features must tell the pixels (by ``decoder``): features of a pure classifier collapse to one
    point per class, and distances between them would see nothing of a digit's style and quality.
    """

    width = 32
    convolutions = 3

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(1, 32, 3, padding=1), nn.SiLU()),
            *(nn.Conv2d(32, 48, 3, stride=2, padding=1), nn.SiLU()),
            *(nn.Conv2d(48, 64, 3, stride=2, padding=1), nn.SiLU()),
            *(nn.Flatten(), nn.Linear(256, self.width), nn.LayerNorm(self.width, elementwise_affine=False)),
        )
        self.head = nn.Linear(self.width, 10)
        self.decoder = nn.Linear(self.width, 64)

    def activations(self, images: Tensor) -> list[Tensor]:
        """Return the activations [batch, channels, height, width] of every convolution."""
        found: list[Tensor] = []
        for index in range(self.convolutions):
            found.append(self.body[2 * index : 2 * index + 2](found[-1] if found else images))
        return found

    def features(self, images: Tensor) -> Tensor:
        """Return the layer-normalised features [batch, 32]."""
        after = self.body[2 * self.convolutions :]
        features: Tensor = after(self.activations(images)[-1])
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits [batch, 10]."""
        logits: Tensor = self.head(self.features(images))
        return logits
