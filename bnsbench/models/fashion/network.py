"""The architectures of the fashion models: a class-conditional U-Net, and a CNN that tells the kinds of clothes apart."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, pixel_shuffle, pixel_unshuffle, silu

from bnsbench.models.fashion.data import CLASSES, SHAPE
from bnsbench.models.layers import Attention, ClockEmbedding, zeroed

GROUPS = 8


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a modulation by the embedding, added to their input (Dhariwal & Nichol 2021)."""

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.into = nn.Conv2d(channels, channels, 3, padding=1)
        self.between = nn.GroupNorm(GROUPS, channels)
        self.modulation = nn.Linear(embedding, 2 * channels)
        self.out = zeroed(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        shift, scale = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
        h = self.between(self.into(silu(self.norm(x))))
        added: Tensor = x + self.out(silu(torch.addcmul(shift, h, 1.0 + scale)))
        return added


class AttentionBlock(nn.Module):
    """A residual block, and attention of all places to each other, added to what it returns."""

    def __init__(self, channels: int, embedding: int, heads: int) -> None:
        super().__init__()
        self.block = ResidualBlock(channels, embedding)
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.attention = Attention(channels, heads)
        zeroed(self.attention.out)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.block(x, embedding)
        seen = self.attention(self.norm(h).flatten(2).transpose(1, 2))
        added: Tensor = h + seen.transpose(1, 2).unflatten(2, h.shape[2:])
        return added


class Scale(nn.Module):
    """One scale of the U-Net around the coarser ones: blocks, the coarser scales' answer added, blocks again.

    forward(x [batch, channels, height, width], embedding [batch, width]) returns the shape of x.

    Args:
        channels: At this scale.
        inner: Channels of the next one, with half the height and width.
        embedding: Width of the embedding.
        blocks: Residual blocks before the coarser scales, and after them.
        coarser: What the coarser scales do, from [batch, inner, height / 2, width / 2] to the same.
    """

    def __init__(self, channels: int, inner: int, embedding: int, blocks: int, coarser: nn.ModuleList) -> None:
        super().__init__()
        self.before = nn.ModuleList(ResidualBlock(channels, embedding) for _ in range(blocks))
        self.down = nn.Conv2d(4 * channels, inner, 1)
        self.coarser = coarser
        self.up = nn.Conv2d(inner, 4 * channels, 1)
        self.after = nn.ModuleList(ResidualBlock(channels, embedding) for _ in range(blocks))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        for block in self.before:
            x = block(x, embedding)
        h = self.down(pixel_unshuffle(x, 2))
        for part in self.coarser:
            h = part(h, embedding)
        x = x + pixel_shuffle(self.up(h), 2)
        for block in self.after:
            x = block(x, embedding)
        return x


class FashionNetwork(nn.Module):
    """A class-conditional prediction network: a U-Net at 28x28, 14x14 and 7x7, where all places see each other.

    forward(clock, x, labels): clock is 0-d or [batch]; x is [batch, 1, 28, 28]; labels are int64 in [0, 10], where 10 means
    "no condition". Returns [batch, 1, 28, 28]. It starts as the zero function.

    Args:
        channels: At the three scales.
        blocks: Residual blocks on each side at 28x28 and at 14x14, and all those at 7x7.
        embedding: Width of the embeddings of clock and class.
        heads: Attention heads, which divide the channels at 7x7.
    """

    null = CLASSES

    def __init__(
        self,
        *,
        channels: Sequence[int] = (32, 64, 128),
        blocks: Sequence[int] = (1, 3, 3),
        embedding: int = 128,
        heads: int = 4,
    ) -> None:
        super().__init__()
        fine, middle, coarse = channels
        self.clock = ClockEmbedding(embedding)
        self.classes = nn.Embedding(CLASSES + 1, embedding)
        self.inlet = nn.Conv2d(SHAPE[0], fine, 3, padding=1)
        inner = nn.ModuleList(AttentionBlock(coarse, embedding, heads) for _ in range(blocks[2]))
        outer = Scale(middle, coarse, embedding, blocks[1], inner)
        self.scales = Scale(fine, middle, embedding, blocks[0], nn.ModuleList([outer]))
        self.norm = nn.GroupNorm(GROUPS, fine)
        self.outlet = zeroed(nn.Conv2d(fine, SHAPE[0], 3, padding=1))
        self.skip = zeroed(nn.Linear(embedding, 1))
        nn.init.normal_(self.classes.weight, std=0.5)

    def forward(self, clock: Tensor, x: Tensor, labels: Tensor) -> Tensor:
        embedding = silu(self.clock(clock) + self.classes(labels))
        h = self.inlet(x).to(x.dtype)  # in mixed precision too, what blocks add to is kept in full
        h = self.scales(h, embedding)
        return torch.addcmul(self.outlet(silu(self.norm(h))), self.skip(embedding)[:, :, None, None], x)


class FashionClassifier(nn.Module):
    """A CNN on pictures [batch, 1, 28, 28] in [-1, 1]; its normalised feature vector feeds the fashion metrics.

    Besides the class, the features must tell a thumbnail of the picture (by ``decoder``), so that distances between them see
    cut and pattern as well. ``layers`` are what the perceptual distance compares.
    """

    width = 64
    thumbnail = 14

    def __init__(self) -> None:
        super().__init__()
        sizes = ((1, 32, 1), (32, 48, 2), (48, 64, 1), (64, 80, 2), (80, 80, 2))
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, stride=stride, padding=1) for a, b, stride in sizes)
        self.norms = nn.ModuleList(nn.GroupNorm(GROUPS, b) for _, b, _ in sizes)
        self.inner = nn.Linear(80 * 4 * 4, self.width)
        self.head = nn.Linear(self.width, CLASSES)
        self.decoder = nn.Linear(self.width, self.thumbnail**2)

    def activations(self, images: Tensor) -> list[Tensor]:
        """Return the activations [batch, channels, height, width] of every convolution."""
        found: list[Tensor] = []
        for layer, norm in zip(self.layers, self.norms, strict=True):
            found.append(silu(norm(layer(found[-1] if found else images))))
        return found

    def features(self, images: Tensor) -> Tensor:
        """Return the layer-normalised features [batch, 64]."""
        return layer_norm(self.inner(self.activations(images)[-1].flatten(1)), (self.width,))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits [batch, 10]."""
        logits: Tensor = self.head(self.features(images))
        return logits
