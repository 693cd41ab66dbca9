"""The architectures of the scenes: a text-conditional U-Net around a joint transformer, and a CNN that reads scenes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, pixel_shuffle, pixel_unshuffle, silu

from bnsbench.models.layers import ClockEmbedding, ModulatedBlock, TextEncoder, zeroed
from bnsbench.models.scenes.data import ATTRIBUTES, LENGTH, SHAPE, VOCABULARY

GROUPS = 8
TOKENS = 64


class ConvolutionBlock(nn.Module):
    """Two 3x3 convolutions around a modulation, added to their input."""

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.into = nn.Conv2d(channels, channels, 3, padding=1)
        self.modulation = nn.Linear(embedding, 2 * channels)
        self.out = zeroed(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        shift, scale = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
        h = torch.addcmul(shift, self.into(silu(self.norm(x))), 1.0 + scale)
        added: Tensor = x + self.out(silu(h))
        return added


class ScenesNetwork(nn.Module):
    """A text-conditional prediction network: convolutions at 16x16, and at 8x8 pixels and words attend to each other.

    forward(clock, x, tokens): clock is 0-d or [batch]; x is [batch, 3, 32, 32]; tokens are int64 [batch, 5], all 0 meaning
    "no caption". Returns [batch, 3, 32, 32]. Joint attention as in Esser et al. 2024 (MM-DiT), with shared weights.
    ``reader`` predicts from the pooled words what the image will show; by it, training teaches the encoder to read, which
    larger models leave to a pretrained text encoder.

    Args:
        channels: Of the convolutions at 16x16.
        width: Of the tokens.
        blocks: Transformer blocks at 8x8.
        heads: Attention heads, which divide the width.
    """

    def __init__(self, *, channels: int = 48, width: int = 128, blocks: int = 6, heads: int = 4) -> None:
        super().__init__()
        self.text = TextEncoder(len(VOCABULARY), LENGTH, width)
        self.clock = ClockEmbedding(width)
        self.reader = nn.Linear(width, sum(ATTRIBUTES.values()))
        self.pooled = nn.Linear(width, width)
        self.modulation = nn.Linear(width, 6 * width)
        self.inlet = nn.Conv2d(4 * SHAPE[0], channels, 3, padding=1)
        self.before = nn.ModuleList(ConvolutionBlock(channels, width) for _ in range(2))
        self.down = nn.Linear(4 * channels, width)
        self.places = nn.Parameter(0.5 * torch.randn(TOKENS, width))
        self.blocks = nn.ModuleList(ModulatedBlock(width, heads) for _ in range(blocks))
        self.up = nn.Linear(width, 4 * channels)
        self.after = nn.ModuleList(ConvolutionBlock(channels, width) for _ in range(2))
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.outlet = zeroed(nn.Conv2d(channels, 4 * SHAPE[0], 3, padding=1))
        with torch.no_grad():
            self.modulation.weight.mul_(0.1)
            self.modulation.bias.zero_()

    def forward(self, clock: Tensor, x: Tensor, tokens: Tensor) -> Tensor:
        words = self.text(tokens)
        embedding = silu(self.clock(clock) + self.pooled(words.mean(dim=1)))
        h = self.inlet(pixel_unshuffle(x, 2))
        for block in self.before:
            h = block(h, embedding)
        h = h + self._attend(h, words, self.modulation(embedding).unflatten(1, (6, -1)))
        for block in self.after:
            h = block(h, embedding)
        predicted: Tensor = pixel_shuffle(self.outlet(silu(self.norm(h))), 2)
        return predicted

    def _attend(self, h: Tensor, words: Tensor, modulation: Tensor) -> Tensor:
        """Return the transformer's output at 8x8, brought back to 16x16, for states [batch, channels, 16, 16]."""
        pixels = self.down(pixel_unshuffle(h, 2).flatten(2).transpose(1, 2)) + self.places
        joint = torch.cat([pixels, words], dim=1)
        for block in self.blocks:
            joint = block(joint, modulation)
        said = self.up(layer_norm(joint[:, :TOKENS], joint.shape[-1:])).transpose(1, 2)
        return pixel_shuffle(said.unflatten(2, (8, 8)), 2)


class SceneClassifier(nn.Module):
    """A CNN on images [batch, 3, 32, 32] in [-1, 1] that reads the attributes of a scene from a normalised feature vector.

    The features must also tell a thumbnail of the image (by ``decoder``), so that distances between them see more than the
    attributes. ``layers`` are what the perceptual distance compares.
    """

    width = 64
    thumbnail = 8
    values = tuple(ATTRIBUTES.values())

    def __init__(self) -> None:
        super().__init__()
        sizes = ((3, 32, 1), (32, 48, 2), (48, 64, 2), (64, 64, 2))
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, stride=stride, padding=1) for a, b, stride in sizes)
        self.inner = nn.Linear(64 * 4 * 4, self.width)
        self.head = nn.Linear(self.width, sum(ATTRIBUTES.values()))
        self.decoder = nn.Linear(self.width, SHAPE[0] * self.thumbnail**2)

    def activations(self, images: Tensor) -> list[Tensor]:
        """Return the activations [batch, channels, height, width] of every convolution."""
        found: list[Tensor] = []
        for layer in self.layers:
            found.append(silu(layer(found[-1] if found else images)))
        return found

    def features(self, images: Tensor) -> Tensor:
        """Return the layer-normalised features [batch, 64]."""
        return layer_norm(self.inner(self.activations(images)[-1].flatten(1)), (self.width,))

    def logits(self, features: Tensor) -> tuple[Tensor, ...]:
        """Return the logits [batch, values] of each attribute, from features."""
        return torch.split(self.head(features), list(self.values), dim=1)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the logits [batch, values] of each attribute."""
        return self.logits(self.features(images))

    def read(self, images: Tensor) -> Tensor:
        """Return the most likely values [batch, 5] of the attributes."""
        return torch.stack([logits.argmax(dim=1) for logits in self(images)], dim=1)
