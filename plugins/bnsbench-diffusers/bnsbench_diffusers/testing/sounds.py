"""Networks of sounds for tiny pipelines; all made from configuration."""

from __future__ import annotations

from typing import Any

import diffusers

from bnsbench_diffusers.testing.images import TOLD_TEXT
from bnsbench_diffusers.testing.texts import TOKENS, WIDTH, roberta_tokenizer

BANDS, RATE = 8, 16_000
"""Of the mel spectra, and of the sounds in Hz."""

MELS = 64
"""Bands of the spectra that CLAP hears; its windows need so many."""


def clap() -> Any:
    """Return CLAP, of which text is encoded and sound never heard."""
    from transformers import ClapConfig, ClapModel  # noqa: PLC0415

    shared = {"hidden_size": WIDTH, "intermediate_size": WIDTH, "projection_dim": WIDTH}
    text = {"vocab_size": len(roberta_tokenizer()), "num_attention_heads": 2, "max_position_embeddings": TOKENS + 2}
    sound = {"num_mel_bins": MELS, "spec_size": MELS, "window_size": 4, "patch_embeds_hidden_size": WIDTH}
    heads = {"depths": [1, 1], "num_attention_heads": [1, 1]}
    return ClapModel(
        ClapConfig(
            text_config={**shared, **text, "num_hidden_layers": 2},
            audio_config={**shared, **sound, **heads, "num_hidden_layers": 2},
            projection_dim=WIDTH,
        )
    )


def clap_features() -> Any:
    """Return the extractor of CLAP's spectra, which only a comparison of several sounds would use."""
    from transformers import ClapFeatureExtractor  # noqa: PLC0415

    return ClapFeatureExtractor(feature_size=MELS)


def gpt2() -> Any:
    """Return a language model that continues three states."""
    from transformers import GPT2Config, GPT2LMHeadModel  # noqa: PLC0415

    config = GPT2Config(vocab_size=4, n_embd=WIDTH, n_layer=2, n_head=2, n_positions=64, bos_token_id=0, eos_token_id=0)
    config.max_new_tokens = 3
    return GPT2LMHeadModel(config)


def audioldm2_unet() -> Any:
    """Return a network of latents [4, 8, 4] that is told two texts."""
    texts = [None, WIDTH, WIDTH]  # no text at first, then the two of them
    return diffusers.AudioLDM2UNet2DConditionModel(**TOLD_TEXT, cross_attention_dim=(texts, texts))


def vocoder() -> Any:
    """Return a network from mel spectra to sounds, 64 samples a frame."""
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig  # noqa: PLC0415

    return SpeechT5HifiGan(
        SpeechT5HifiGanConfig(
            model_in_dim=BANDS,
            sampling_rate=RATE,
            upsample_initial_channel=8,
            upsample_rates=[8, 8],
            upsample_kernel_sizes=[16, 16],
            resblock_kernel_sizes=[3],
            resblock_dilation_sizes=[[1, 3]],
            initializer_range=0.3,
            normalize_before=False,
        )
    )


def oobleck() -> Any:
    """Return an autoencoder of stereo sound, 128 samples a latent."""
    return diffusers.AutoencoderOobleck(
        encoder_hidden_size=4,
        downsampling_ratios=[4, 4, 8],
        channel_multiples=[1, 2, 2],
        decoder_channels=4,
        decoder_input_channels=4,
        audio_channels=2,
        sampling_rate=RATE,
    )


def stable_audio_transformer() -> Any:
    """Return a network of latents [4, 16] that is told a text and a duration."""
    return diffusers.StableAudioDiTModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        num_key_value_attention_heads=2,
        cross_attention_dim=WIDTH,
        time_proj_dim=WIDTH,
        global_states_input_dim=2 * WIDTH,
        cross_attention_input_dim=WIDTH,
    )
