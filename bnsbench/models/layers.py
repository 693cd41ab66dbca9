"""The parts that the embedded networks share: the clock, attention, and the modulated transformer block."""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, scaled_dot_product_attention, silu

Layer = TypeVar("Layer", bound=nn.Module)


def zeroed(layer: Layer) -> Layer:
    """Return the layer with all its parameters set to zero, so that it adds nothing at the start of training."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class ClockEmbedding(nn.Module):
    """Embed a clock value c in about [-1, 1] by low-frequency Fourier features and a two-layer network.

    The highest frequency is low (four periods over [-1, 1]), so the velocity is smooth in time and high-order solvers work.

    Args:
        width: Of the embedding.
        frequencies: Their number, in geometric progression from half a period over [-1, 1].
        highest: The highest angular frequency.
    """

    def __init__(self, width: int, frequencies: int = 16, highest: float = 4 * math.pi) -> None:
        super().__init__()
        exponents = torch.linspace(math.log(0.5 * math.pi), math.log(highest), frequencies)
        self.frequencies: Tensor
        self.register_buffer("frequencies", exponents.exp(), persistent=False)
        self.layers = nn.Sequential(nn.Linear(2 * frequencies + 1, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, clock: Tensor) -> Tensor:
        clock = clock[..., None]
        angles = clock * self.frequencies
        embedded: Tensor = self.layers(torch.cat([clock, angles.sin(), angles.cos()], dim=-1))
        return embedded


class Attention(nn.Module):
    """Multi-head self-attention over all tokens [batch, n, width] (Vaswani et al. 2017)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.into = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        heads = self.into(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed: Tensor = self.out(scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))
        return mixed


class ModulatedBlock(nn.Module):
    """A transformer block under adaptive layer norm (Peebles & Xie 2023).

    All blocks of a network share one modulation, to which each adds its own offset (Chen et al. 2024, PixArt-alpha).
    forward(x [batch, n, width], modulation [batch or 1, 6, width]) returns [batch, n, width].

    Args:
        width: Of a token.
        heads: Attention heads, which divide the width.
        expansion: The hidden width of the MLP over the width.
    """

    def __init__(self, width: int, heads: int, expansion: int = 4) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.into = nn.Linear(width, expansion * width)
        self.out = nn.Linear(expansion * width, width)
        # Neutral scales and small gates, so that the network starts near the identity.
        start = torch.tensor([0.0, 1.0, 0.3, 0.0, 1.0, 0.3])
        self.offset = nn.Parameter(start[:, None].repeat(1, width))

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        shift, scale, gate, shift_2, scale_2, gate_2 = (modulation + self.offset)[:, :, None].unbind(1)
        x = torch.addcmul(x, gate, self.attention(torch.addcmul(shift, layer_norm(x, x.shape[-1:]), scale)))
        h = self.into(torch.addcmul(shift_2, layer_norm(x, x.shape[-1:]), scale_2))
        return torch.addcmul(x, gate_2, self.out(gelu(h, approximate="tanh")))


class TextEncoder(nn.Module):
    """A small pre-norm transformer over tokens [batch, length] with learned places; returns [batch, length, width].

    Args:
        vocabulary: The number of different tokens.
        length: Tokens of a text.
        width: Of an encoded token.
        layers: Transformer layers.
        heads: Attention heads, which divide the width.
    """

    def __init__(self, vocabulary: int, length: int, width: int, *, layers: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.places = nn.Parameter(0.5 * torch.randn(length, width))
        self.attentions = nn.ModuleList(Attention(width, heads) for _ in range(layers))
        self.into = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(layers))
        self.out = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(layers))
        nn.init.normal_(self.words.weight, std=0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        x: Tensor = self.words(tokens) + self.places
        for attention, into, out in zip(self.attentions, self.into, self.out, strict=True):
            x = x + attention(layer_norm(x, x.shape[-1:]))
            x = x + out(silu(into(layer_norm(x, x.shape[-1:]))))
        return layer_norm(x, x.shape[-1:])


def hidden_matrices(network: nn.Module) -> list[Tensor]:
    """Return the weights of the linear layers inside a network's transformer blocks and text encoders."""
    rooms = [module for module in network.modules() if isinstance(module, ModulatedBlock | TextEncoder)]
    return [layer.weight for room in rooms for layer in room.modules() if isinstance(layer, nn.Linear)]
