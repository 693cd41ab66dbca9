"""Tiny checkpoints of CLIP and CLAP with random weights, for tests of metrics and to try commands without a download."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from bnsbench.plugin import UsageError
from bnsbench_diffusers.models.loading import quiet
from bnsbench_diffusers.testing.texts import SMALL, TOKENS, WIDTH, clip_tokenizer, roberta_tokenizer

SIDE = 16
"""Of the images that the tiny CLIP sees, in pixels."""

SOUND: Mapping[str, Any] = {
    "sampling_rate": 4000,
    "max_length_s": 1,
    "hop_length": 64,
    "fft_window_size": 256,
    "frequency_max": 2000,
}
"""What the tiny CLAP hears, in place of 10 seconds at 48 kHz."""

BANDS, SPECTRUM = 16, 32
"""Of the tiny CLAP's spectra: mel bands, and the side of the square that they are folded into."""

SEED = 5
"""With which most cosines of CLIP are positive, so that scores are not all zero."""


def make_tiny_checkpoint(kind: str, folder: Path | str, seed: int = SEED) -> Path:
    """Write a network with seeded random weights and its processor into a folder, as transformers does, and return it.

    kind: one of `CHECKPOINTS`. Its scores mean nothing. The caller's random state is left as it was. Raises UsageError for
    an unknown kind.
    """
    if kind not in CHECKPOINTS:
        raise UsageError(f"There is no kind of checkpoint {kind!r}; choose from {', '.join(CHECKPOINTS)}.")
    with torch.random.fork_rng(devices=()), quiet():
        torch.manual_seed(seed)
        for part in CHECKPOINTS[kind]():
            part.save_pretrained(str(folder))
    return Path(folder)


def _clip() -> tuple[Any, Any]:
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor  # noqa: PLC0415 - optional

    tokenizer = clip_tokenizer()
    end = len(tokenizer) - 1
    special = {"bos_token_id": end - 1, "eos_token_id": end, "pad_token_id": end}
    text = {**SMALL, **special, "vocab_size": end + 1, "max_position_embeddings": TOKENS}
    vision = {**SMALL, "image_size": SIDE, "patch_size": 4}
    images = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=WIDTH)
    return CLIPModel(config), CLIPProcessor(image_processor=images, tokenizer=tokenizer)


def _clap() -> tuple[Any, Any]:
    """Return one that hears a random second of longer clips, as the unfused public one hears ten seconds."""
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, ClapProcessor  # noqa: PLC0415 - optional

    tokenizer = roberta_tokenizer()
    text = {**SMALL, "vocab_size": len(tokenizer), "max_position_embeddings": TOKENS + 2}
    audio = {
        "num_mel_bins": BANDS,
        "spec_size": SPECTRUM,
        "window_size": 4,
        "depths": [1, 1],
        "num_attention_heads": [2, 2],
        "num_hidden_layers": 2,
        "patch_embeds_hidden_size": WIDTH // 2,
        "hidden_size": WIDTH,
    }
    sounds = ClapFeatureExtractor(feature_size=BANDS, truncation="rand_trunc", **SOUND)
    config = ClapConfig(text_config=text, audio_config=audio, projection_dim=WIDTH)
    return ClapModel(config), ClapProcessor(feature_extractor=sounds, tokenizer=tokenizer)


CHECKPOINTS: Mapping[str, Callable[[], tuple[Any, Any]]] = {"clip": _clip, "clap": _clap}
"""Kinds of checkpoints, by what makes a network and its processor in memory."""
