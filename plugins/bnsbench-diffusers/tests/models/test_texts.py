"""Prompts and the table of their encodings."""

from __future__ import annotations

import pytest
import torch

from bnsbench.plugin import UsageError
from bnsbench_diffusers.models.prompts import read_prompts
from bnsbench_diffusers.models.registry import diffusers_model
from bnsbench_diffusers.models.texts import KEPT, EncodingTable

PROMPTS = ("a red fox in the snow", "two boats", "an empty street at night")

CPU = torch.device("cpu")


class Encoder:
    """Encodes a text as its length, and remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, prompts):
        self.asked += prompts
        return [{"states": torch.full((2, 3), float(len(prompt or ""))), "mask": torch.tensor([1, 0])} for prompt in prompts]


def test_prompts_are_lines(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("\ufeff# a comment\n\n  a red fox \r\ntwo \u00e9toiles\n", encoding="utf-8")
    assert read_prompts(str(file)) == ("a red fox", "two \u00e9toiles")
    assert read_prompts("") == ()


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\r"], ids=ascii)
def test_only_line_feeds_end_a_prompt(tmp_path, separator):
    file = tmp_path / "prompts.txt"
    file.write_bytes(f"a fox{separator}in two parts\r\na hare\n\n".encode())
    assert read_prompts(str(file)) == (f"a fox{separator}in two parts", "a hare")


def test_faulty_files_of_prompts(tmp_path, tiny):
    with pytest.raises(UsageError, match="cannot be read"):
        diffusers_model(str(tiny("sd")), prompts=str(tmp_path / "absent.txt"))
    (tmp_path / "empty.txt").write_text("\n# nothing\n")
    with pytest.raises(UsageError, match="has no prompt"):
        read_prompts(str(tmp_path / "empty.txt"))
    (tmp_path / "latin.txt").write_bytes(b"\xe9toile\n")
    with pytest.raises(UsageError, match="cannot be read"):
        read_prompts(str(tmp_path / "latin.txt"))


def test_no_file_of_prompts(tiny):
    model = diffusers_model(str(tiny("sd")))
    with pytest.raises(UsageError, match="prompts=FILE"):
        model.conditions(torch.arange(2))
    assert model.describe("a house").ndim == 0


def test_prompts_take_turns(load):
    model = load("sd")
    first, second, third, fourth = model.conditions(torch.arange(4)).tolist()
    assert len({first, second, third}) == 3
    assert fourth == first
    assert model.describe("two boats").item() == second
    assert model.describe("a house").item() not in {first, second, third}
    assert model.texts(model.conditions(torch.tensor([1, 3]))) == ["two boats", "a red fox in the snow"]


def test_prompts_are_part_of_the_fingerprint(load, tmp_path):
    (tmp_path / "other.txt").write_text("a house\n")
    assert load("sd", prompts=str(tmp_path / "other.txt")).fingerprint() != load("sd").fingerprint()


@pytest.mark.parametrize("kind", ["sd", "sdxl", "pixart-sigma", "sd3", "audioldm2", "wan-2", "ltx", "qwen-image", "z-image"])
def test_the_negative_prompt_is_what_guidance_leads_away_from(load, kind):
    """With the prompt itself as the negative one, guidance changes nothing."""
    model = load(kind, negative="two boats")
    x = torch.randn(1, *model.shape)
    condition = model.describe("two boats")[None]
    with torch.no_grad():
        plain, guided = (model.field(condition, w)(torch.tensor(0.5), x) for w in (0.0, 4.0))
    torch.testing.assert_close(guided, plain, rtol=1e-4, atol=1e-4 * float(plain.abs().max()))
    assert model.fingerprint() != load(kind).fingerprint()


def test_no_prompt_beside_a_prompt(load):
    """AudioLDM2 fills its negative text up to the prompt's length, so each prompt has one of its own."""
    model = load("audioldm2")
    conditions = model.conditions(torch.arange(3))
    nulls = model.null_condition(conditions)
    assert model.texts(conditions) == list(PROMPTS)
    assert model.texts(nulls) == [""] * 3
    assert torch.equal(model.null_condition(nulls), nulls)
    told = model.told(torch.zeros(6), torch.cat([conditions, nulls]))
    lengths = told["encoder_attention_mask_1"].sum(dim=1).tolist()
    assert len(set(lengths[:3])) == 3
    assert lengths[3:] == [1, 1, 1]
    generated = told["encoder_hidden_states"][3:]
    assert all(float((generated[i] - generated[j]).abs().max()) > 1e-3 for i, j in ((0, 1), (0, 2), (1, 2)))


def test_what_gpt2_makes_of_a_prompt(load):
    """Step by step without a cache: the last state is appended to what it has read, three times."""
    model = load("audioldm2")
    pipe, (prompt, *_) = model.pipeline, PROMPTS
    told = model.told(torch.zeros(1), model.describe(prompt)[None])
    with torch.no_grad():
        clap = pipe.tokenizer(prompt, padding="max_length", truncation=True, return_tensors="pt")
        heard = pipe.text_encoder.get_text_features(**clap).pooler_output[:, None]
        read = told["encoder_hidden_states_1"]
        states = pipe.projection_model(heard, read, torch.ones(1, 1), torch.ones(read.shape[:2])).hidden_states
        for _ in range(3):
            last = pipe.language_model.transformer(inputs_embeds=states).last_hidden_state[:, -1:]
            states = torch.cat([states, last], dim=1)
    torch.testing.assert_close(told["encoder_hidden_states"], states[:, -3:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("negative", ["", "loud"])
def test_stable_audio_without_a_prompt(load, negative):
    """Zeros in the place of text and duration, unless there is a negative text; the duration stays beside it."""
    model = load("stable-audio", negative=negative)
    told = model.told(torch.zeros(2, 1), torch.stack([model.describe("two boats"), torch.tensor(0)]))
    states = told["encoder_hidden_states"]
    assert bool(states[1].any()) == bool(negative)
    assert torch.equal(states[0, -2:], states[1, -2:]) == bool(negative)
    assert torch.equal(*told["global_hidden_states"])


def test_a_text_is_encoded_once(tmp_path):
    encoder = Encoder()
    table = EncodingTable(encoder, tmp_path)
    numbers = torch.tensor([table.number("abc"), table.number("z"), 0, table.number("abc")])
    found = table.batch(numbers, CPU, torch.float64)
    assert found["states"][:, 0, 0].tolist() == [3, 1, 0, 3]
    assert (found["states"].dtype, found["mask"].dtype) == (torch.float64, torch.int64)
    table.batch(numbers.flip(0), CPU, torch.float64)
    EncodingTable(encoder, tmp_path).batch(torch.tensor([0]), CPU, torch.float32)
    assert encoder.asked == [None, "abc", "z"]


def test_a_damaged_encoding_is_made_again(tmp_path):
    encoder = Encoder()
    EncodingTable(encoder, tmp_path).batch(torch.tensor([0]), CPU, torch.float32)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:20])
    EncodingTable(encoder, tmp_path).batch(torch.tensor([0]), CPU, torch.float32)
    assert encoder.asked == [None, None]


def test_batches_may_be_larger_than_what_is_kept(tmp_path):
    encoder = Encoder()
    table = EncodingTable(encoder, tmp_path)
    numbers = torch.tensor([table.number("x" * length) for length in range(1, KEPT + 9)])
    assert table.batch(numbers, CPU, torch.float32)["states"][:, 0, 0].tolist() == list(range(1, KEPT + 9))
    table.batch(numbers[:4], CPU, torch.float32)
    assert len(encoder.asked) == KEPT + 8


def test_encodings_are_kept_by_encoder(load, tiny, tmp_path):
    """Another text encoder finds nothing of the first one's."""
    from bnsbench_diffusers.models.loading import load_pipeline

    pipe = load_pipeline(tiny("sd"))
    with torch.no_grad():
        pipe.text_encoder.get_input_embeddings().weight.add_(1.0)
    pipe.save_pretrained(tmp_path / "other")
    first, other = load("sd"), load("sd", folder=tmp_path / "other")
    states = [
        model.told(torch.zeros(1, 1), model.describe("boats")[None])["encoder_hidden_states"] for model in (first, other)
    ]
    assert not torch.allclose(*states)
