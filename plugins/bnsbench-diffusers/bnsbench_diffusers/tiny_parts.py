"""Parts of tiny pipelines: small networks, schedulers and tokenizers, made from configuration without any download."""

from __future__ import annotations

from typing import Any

import diffusers

WIDTH, TOKENS = 16, 24
"""Of the text encoders: the size of their states, and the longest text."""

LATENT_NOISE = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}
"""The noise levels of latent diffusion (Rombach et al. 2022)."""


def ddim_scheduler(**options: Any) -> Any:
    """Return a scheduler whose last step ends at timestep 0 and whose first begins at the last timestep."""
    shared = {"clip_sample": False, "set_alpha_to_one": False, "timestep_spacing": "trailing"}
    return diffusers.DDIMScheduler(**shared, **options)


def unet2d(**options: Any) -> Any:
    """Return a network of images [3, 8, 8]."""
    return diffusers.UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        **options,
    )


def vae(channels: int = 4, **options: Any) -> Any:
    """Return an autoencoder whose latents have half the side of its images."""
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=channels,
        norm_num_groups=4,
        sample_size=16,
        **options,
    )


def clip_tokenizer() -> Any:
    """Return a tokenizer of single letters, which cannot tell words but texts."""
    from transformers import CLIPTokenizer  # noqa: PLC0415 - an optional dependency

    letters = [letter + end for letter in map(chr, range(97, 123)) for end in ("", "</w>")]
    words = {word: number for number, word in enumerate([*letters, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=words, merges=[], model_max_length=TOKENS)


def clip(projected: bool = False) -> Any:
    """Return a text encoder of CLIP, with or without the projection of its pooled state."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection  # noqa: PLC0415

    end = len(clip_tokenizer()) - 1
    config = CLIPTextConfig(
        vocab_size=end + 1,
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        bos_token_id=end - 1,
        eos_token_id=end,
        pad_token_id=end,
    )
    return CLIPTextModelWithProjection(config) if projected else CLIPTextModel(config)


def t5_tokenizer() -> Any:
    """Return a tokenizer of single letters."""
    from transformers import T5Tokenizer  # noqa: PLC0415

    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -2.0)]
    letters = [(letter, -3.0) for letter in map(chr, range(97, 123))]
    return T5Tokenizer(vocab=[*special, *letters], extra_ids=0, model_max_length=TOKENS)


def t5(width: int = WIDTH) -> Any:
    """Return a text encoder of T5 whose states have that size."""
    from transformers import T5Config, T5EncoderModel  # noqa: PLC0415

    config = T5Config(vocab_size=len(t5_tokenizer()), d_model=width, d_kv=8, d_ff=WIDTH, num_layers=2, num_heads=2)
    return T5EncoderModel(config)


def unet(**options: Any) -> Any:
    """Return a network of latents [4, 8, 8] that is told a text."""
    return diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        **options,
    )


def gemma_tokenizer() -> Any:
    """Return a tokenizer of single letters."""
    from transformers import GemmaTokenizer  # noqa: PLC0415

    words = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "\u2581", *map(chr, range(97, 123))]
    return GemmaTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=[])


def gemma() -> Any:
    """Return a language model whose states encode text."""
    from transformers import Gemma2Config, Gemma2Model  # noqa: PLC0415

    config = Gemma2Config(
        vocab_size=len(gemma_tokenizer()),
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        query_pre_attn_scalar=8,
    )
    return Gemma2Model(config)


def deep_autoencoder() -> Any:
    """Return one whose latents have a quarter of the side of its images."""
    ends: dict[str, Any] = {}
    for end in ("encoder", "decoder"):
        shape = {"block_out_channels": (8, 8, 16), "layers_per_block": (1, 1, 1), "qkv_multiscales": ((), (), ())}
        ends |= {f"{end}_{name}": value for name, value in shape.items()}
    return diffusers.AutoencoderDC(latent_channels=4, scaling_factor=0.41407, **ends)
