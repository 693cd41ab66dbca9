"""The architectures of the speech: a transformer over frames and letters, and a CNN that recognises words and voices."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, silu

from bnsbench.models.layers import ClockEmbedding, ModulatedBlock, TextEncoder, zeroed
from bnsbench.models.speech.audio import BANDS, FRAMES
from bnsbench.models.speech.data import LETTERS, VOICES, WORDS

ALPHABET = 27
FRAMES_PER_TOKEN = 2
TOKENS = FRAMES // FRAMES_PER_TOKEN


class SpeechNetwork(nn.Module):
    """A prediction network on pairs of frames that attend to each other and to letters (after Le et al. 2023, Voicebox).

    forward(clock, x, letters, voices, given, known): clock is 0-d or [batch]; x is [batch, 64 bands, 64 frames]; letters are
    int64 [batch, 9], voices int64 [batch], 8 meaning "any"; given [batch, 64, 64] holds the frames that ``known``
    [batch, 64] marks, elsewhere 0. Returns [batch, 64, 64].

    Args:
        width: Of the tokens.
        blocks: Transformer blocks.
        heads: Attention heads, which divide the width.
    """

    def __init__(self, *, width: int = 144, blocks: int = 6, heads: int = 4) -> None:
        super().__init__()
        self.text = TextEncoder(ALPHABET, LETTERS, width)
        self.voices = nn.Embedding(len(VOICES) + 1, width)
        self.clock = ClockEmbedding(width)
        self.pooled = nn.Linear(width, width)
        self.modulation = nn.Linear(width, 6 * width)
        self.inlet = nn.Linear(FRAMES_PER_TOKEN * (2 * BANDS + 1), width)
        self.places = nn.Parameter(0.5 * torch.randn(TOKENS, width))
        self.blocks = nn.ModuleList(ModulatedBlock(width, heads) for _ in range(blocks))
        self.outlet = zeroed(nn.Linear(width, FRAMES_PER_TOKEN * BANDS))
        nn.init.normal_(self.voices.weight, std=0.5)
        with torch.no_grad():
            self.modulation.weight.mul_(0.1)
            self.modulation.bias.zero_()

    def forward(self, clock: Tensor, x: Tensor, letters: Tensor, voices: Tensor, given: Tensor, known: Tensor) -> Tensor:
        words = self.text(letters)
        embedding = silu(self.clock(clock) + self.pooled(words.mean(dim=1)) + self.voices(voices))
        modulation = self.modulation(embedding).unflatten(1, (6, -1))
        seen = torch.cat([x, given, known[:, None].to(x)], dim=1).transpose(1, 2)
        tokens = self.inlet(seen.reshape(len(x), TOKENS, -1)) + self.places
        joint = torch.cat([tokens, words], dim=1)
        for block in self.blocks:
            joint = block(joint, modulation)
        predicted: Tensor = self.outlet(layer_norm(joint[:, :TOKENS], joint.shape[-1:]))
        return predicted.reshape(len(x), FRAMES, BANDS).transpose(1, 2)


class WordClassifier(nn.Module):
    """A CNN on log-mel latents [batch, 64, 64] that recognises word and voice from a normalised feature vector.

    The features must also tell a thumbnail of the spectrogram (by ``decoder``), so that distances between them see more than
    the word.
    """

    width = 48
    thumbnail = 8

    def __init__(self) -> None:
        super().__init__()
        sizes = ((1, 24), (24, 32), (32, 48), (48, 64))
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in sizes)
        self.inner = nn.Linear(64 * 4 * 4, self.width)
        self.words = nn.Linear(self.width, len(WORDS))
        self.voices = nn.Linear(self.width, len(VOICES))
        self.decoder = nn.Linear(self.width, self.thumbnail**2)

    def features(self, latents: Tensor) -> Tensor:
        """Return the layer-normalised features [batch, 48]."""
        h = latents[:, None]
        for layer in self.layers:
            h = silu(layer(h))
        return layer_norm(self.inner(h.flatten(1)), (self.width,))

    def forward(self, latents: Tensor) -> Tensor:
        """Return the logits [batch, 24] of the words."""
        logits: Tensor = self.words(self.features(latents))
        return logits
