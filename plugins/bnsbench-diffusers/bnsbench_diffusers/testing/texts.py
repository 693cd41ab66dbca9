"""Tokenizers and text encoders for tiny pipelines: letters for words, and a few numbers for states."""

from __future__ import annotations

from typing import Any

WIDTH, TOKENS = 16, 24
"""Of the text encoders: the size of their states, and the longest text."""

SMALL: dict[str, Any] = {"hidden_size": WIDTH, "intermediate_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2}
"""The sizes of a transformer, as most configurations of the library of that name call them."""

LETTERS = tuple(map(chr, range(97, 123)))


def clip_tokenizer() -> Any:
    """Return a tokenizer of single letters, which cannot tell words but texts."""
    from transformers import CLIPTokenizer  # noqa: PLC0415 - an optional dependency

    letters = [letter + end for letter in LETTERS for end in ("", "</w>")]
    words = {word: number for number, word in enumerate([*letters, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=words, merges=[], model_max_length=TOKENS)


def clip(projected: bool = False) -> Any:
    """Return a text encoder of CLIP, with or without the projection of its pooled state."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection  # noqa: PLC0415

    end = len(clip_tokenizer()) - 1
    config = CLIPTextConfig(
        vocab_size=end + 1,
        **SMALL,
        projection_dim=WIDTH,
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
    letters = [(letter, -3.0) for letter in LETTERS]
    return T5Tokenizer(vocab=[*special, *letters], extra_ids=0, model_max_length=TOKENS)


def t5(width: int = WIDTH) -> Any:
    """Return a text encoder of T5 whose states have that size."""
    from transformers import T5Config, T5EncoderModel  # noqa: PLC0415

    config = T5Config(vocab_size=len(t5_tokenizer()), d_model=width, d_kv=8, d_ff=WIDTH, num_layers=2, num_heads=2)
    return T5EncoderModel(config)


def umt5() -> Any:
    """Return a text encoder of UMT5, which differs from T5 in where positions enter."""
    from transformers import UMT5Config, UMT5EncoderModel  # noqa: PLC0415

    config = UMT5Config(vocab_size=len(t5_tokenizer()), d_model=WIDTH, d_kv=8, d_ff=WIDTH, num_layers=2, num_heads=2)
    return UMT5EncoderModel(config)


def qwen_tokenizer() -> Any:
    """Return a tokenizer of single letters, whose chats are just what is said in them."""
    from transformers import Qwen2Tokenizer  # noqa: PLC0415

    words = ["<|endoftext|>", "\u0120", *LETTERS]
    tokenizer = Qwen2Tokenizer(vocab={word: number for number, word in enumerate(words)}, merges=[])
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %} a"
    return tokenizer


def qwen3() -> Any:
    """Return a language model whose states encode text."""
    from transformers import Qwen3Config, Qwen3Model  # noqa: PLC0415

    return Qwen3Model(Qwen3Config(vocab_size=len(qwen_tokenizer()), **SMALL, num_key_value_heads=1, head_dim=8))


def qwen_vl() -> Any:
    """Return a language model that could see as well, whose states encode text."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration  # noqa: PLC0415

    sections = {"rope_theta": 1e6, "rope_type": "default", "mrope_section": [1, 1, 2]}
    text = {**SMALL, "vocab_size": len(qwen_tokenizer()), "num_key_value_heads": 1, "rope_parameters": sections}
    text |= {"bos_token_id": 0, "eos_token_id": 0}
    vision = {"depth": 1, "hidden_size": WIDTH, "intermediate_size": WIDTH, "num_heads": 2, "out_hidden_size": WIDTH}
    return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision))


def gemma_tokenizer() -> Any:
    """Return a tokenizer of single letters."""
    from transformers import GemmaTokenizer  # noqa: PLC0415

    words = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "\u2581", *LETTERS]
    return GemmaTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=[])


def gemma() -> Any:
    """Return a language model whose states encode text."""
    from transformers import Gemma2Config, Gemma2Model  # noqa: PLC0415

    config = Gemma2Config(
        vocab_size=len(gemma_tokenizer()),
        **SMALL,
        num_key_value_heads=1,
        head_dim=8,
        query_pre_attn_scalar=8,
    )
    return Gemma2Model(config)


def roberta_tokenizer() -> Any:
    """Return a tokenizer of single letters."""
    from transformers import RobertaTokenizer  # noqa: PLC0415

    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "\u0120", *LETTERS]
    return RobertaTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=[], model_max_length=TOKENS)
