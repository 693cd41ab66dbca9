"""``bnsbench sample``."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from bnsbench.flows.paths import VP, CondOT
from bnsbench.media.wav import read_wav
from bnsbench.models.mixtures import ring8
from bnsbench.models.scenes.features import scene_classifier
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.tracing import trace
from bnsbench.solvers.runge_kutta import midpoint


def psnr(text: str) -> float:
    found = re.search(r"([-\d.]+) dB", text)
    assert found
    return float(found[1])


def save(file, path=CondOT(), guidance=0.0, fingerprint=None) -> None:  # noqa: B008
    table = trace(lambda field, x0: midpoint(field, x0, 4), path)
    SolverArtefact(table, path, (0.0, 1.0), "ring8", fingerprint or ring8().fingerprint(), guidance, "bns").save(file)


def test_images_lie_beside_their_truth(bnsbench, tmp_path):
    done = bnsbench("sample", "digits-gmm", "--solver", "rk4", "--nfe", 32, "--count", 3, "--output", "out")
    assert (done.code, done.err) == (0, "")
    assert "rk4 on digits-gmm: 32 NFE" in done.out
    assert psnr(done.out) > 40
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["000.png", "001.png", "002.png", "overview.png"]
    assert imread(tmp_path / "out" / "001.png").shape[:2] == (8, 8)


def test_more_evaluations_are_nearer(bnsbench):
    common = ("sample", "ring8", "--solver", "midpoint", "--count", 8, "--output", "out", "--nfe")
    assert psnr(bnsbench(*common, 32).out) > psnr(bnsbench(*common, 4).out) + 10


def test_points_are_drawn(bnsbench, tmp_path):
    assert bnsbench("sample", "aniso5", "--solver", "euler", "--nfe", 4, "--output", "out").code == 0
    picture = imread(tmp_path / "out" / "overview.png")
    assert np.ptp(picture) > 0.5


def test_seed_changes_the_samples(bnsbench):
    common = ("sample", "ring8", "--solver", "euler", "--nfe", 4, "--count", 4, "--output", "out")
    first, again, other = (bnsbench(*common, "--seed", seed).out for seed in (0, 0, 1))
    assert first == again != other


def test_trained_solver(bnsbench):
    save("mine.json")
    done = bnsbench("sample", "ring8", "--solver", "mine.json", "--output", "out", "--count", 4)
    direct = bnsbench("sample", "ring8", "--solver", "midpoint", "--nfe", 4, "--output", "out", "--count", 4)
    assert done.err == ""
    assert psnr(done.out) == psnr(direct.out)


def test_solver_for_something_else_is_noted(bnsbench):
    save("mine.json", guidance=2.0, fingerprint="0" * 64)
    done = bnsbench("sample", "ring8", "--solver", "mine.json", "--output", "out", "--count", 4)
    assert done.code == 0
    assert "and is used on other weights (ring8) at w = 0" in done.err


def test_solver_for_another_path_is_refused(bnsbench):
    save("mine.json", path=VP())
    done = bnsbench("sample", "ring8", "--solver", "mine.json", "--output", "out", "--count", 4)
    assert done.code == 2
    assert "trained on the vp path" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("ring9", "--solver", "euler", "--nfe", 4), 2, "did you mean 'ring8'?"),
        (("ring8", "--solver", "euler"), 2, "add --nfe"),
        (("ring8", "--solver", "euler", "--nfe", 4, "--count", 0), 2, "--count"),
        (("ring8", "--solver", "euler", "--nfe", 4, "--device", "tpu"), 2, "There is no device 'tpu'"),
        (("ring8", "--solver", "euler", "--nfe", 4, "--device", "cuda:99"), 2, "'cuda:99' is not there"),
        (("ring8", "--solver", "euler", "--nfe", 4, "--guidance", 2), 1, "MixtureModel is unconditional"),
    ],
)
def test_misuse(bnsbench, arguments, code, sentence):
    done = bnsbench("sample", *arguments, "--output", "out")
    assert done.code == code
    assert sentence in done.err
    assert "Traceback" not in done.err


def test_modality_without_pictures(bnsbench, tmp_path):
    (tmp_path / "sound.py").write_text(
        "from bnsbench.contract.hookspecs import hookimpl\nfrom bnsbench.contract.specs import ModelSpec\n"
        "@hookimpl\ndef bnsbench_models():\n"
        "    yield ModelSpec('sound', 'bnsbench.models.mixtures:ring8', modality='audio')\n"
    )
    done = bnsbench("sample", "sound", "--solver", "euler", "--nfe", 4, "--output", "out", "--plugin", "sound.py")
    assert (done.code, done.out) == (2, "")
    assert "no pictures of 'audio' samples" in done.err


def test_words_are_spoken_by_the_voice_asked_for(bnsbench, tmp_path):
    common = ("sample", "speech", "--solver", "euler", "--nfe", 2, "--count", 2, "--output")
    done = bnsbench(*common, "out", "--text", "seven", "--voice", 2)
    assert (done.code, done.err) == (0, "")
    names = ["000-truth.wav", "000.wav", "001-truth.wav", "001.wav", "overview.png"]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == names
    sound, rate = read_wav(tmp_path / "out" / "000-truth.wav")
    assert (len(sound), rate) == (16_384, 16_000)
    assert sound.abs().max() > 0.05
    other = bnsbench(*common, "other", "--text", "seven", "--voice", 3)
    assert psnr(other.out) != psnr(done.out)


def test_a_model_with_a_sample_rate_makes_sound_whatever_its_record_says(bnsbench, tmp_path):
    (tmp_path / "spoken.py").write_text(
        "from bnsbench.contract.hookspecs import hookimpl\nfrom bnsbench.contract.specs import ModelSpec\n"
        "@hookimpl\ndef bnsbench_models():\n"
        "    yield ModelSpec('spoken', 'bnsbench.models.speech.model:speech', modality='image')\n"
    )
    common = ("--solver", "euler", "--nfe", 2, "--plugin", "spoken.py")
    assert bnsbench("sample", "spoken", *common, "--count", 1, "--output", "out").code == 0
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["000-truth.wav", "000.wav", "overview.png"]
    options = ("--model", "spoken", *common, "--samples", 2, "--metric", "psnr", "--executor", "local")
    assert bnsbench("run", "quick", *options).code == 0
    assert len(list((tmp_path / "runs/quick/previews").glob("*/000.wav"))) == 1


def test_a_scene_is_drawn_as_its_prompt_says_by_the_shipped_solver(bnsbench, tmp_path):
    common = ("sample", "scenes", "--solver", "bns", "--nfe", 4, "--guidance", 2, "--count", 2, "--output", "out")
    done = bnsbench(*common, "--prompt", "a red circle left of a blue square", "--prompt", "a green cross above a red cross")
    assert (done.code, done.err) == (0, "")
    assert psnr(done.out) > 20
    pictures = [torch.tensor(imread(tmp_path / "out" / name))[..., :3].permute(2, 0, 1) for name in ("000.png", "001.png")]
    read = scene_classifier().read(2 * torch.stack(pictures) - 1)
    assert read.tolist() == [[0, 0, 0, 2, 1], [1, 1, 3, 0, 3]]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("scenes", "--prompt", "a red dog left of a blue square"), "do not know the word 'dog'"),
        (("speech", "--text", "eleven"), "does not know the word 'eleven'"),
        (("speech", "--text", "one", "--voice", 9), "There is no voice 9"),
        (("speech", "--voice", 1), "A voice needs something to say: add --text."),
        (("digits-ot", "--prompt", "seven"), "is not told by a text what to make"),
    ],
)
def test_what_a_model_is_not_told_is_refused(bnsbench, arguments, complaint):
    model, *rest = arguments
    done = bnsbench("sample", model, "--solver", "euler", "--nfe", 2, "--output", "out", *rest)
    assert done.code in (1, 2)
    assert complaint in done.err
    assert "Traceback" not in done.err


def test_json_has_the_psnr_of_every_sample(bnsbench):
    common = ("sample", "ring8", "--solver", "euler", "--nfe", 4, "--count", 3, "--output", "out")
    found = json.loads(bnsbench(*common, "--json").out)
    assert (found["solver"], found["model"], found["nfe"], found["folder"]) == ("euler", "ring8", 4, "out")
    assert len(found["per_sample"]) == 3
    assert found["psnr"] == pytest.approx(sum(found["per_sample"]) / 3)
    assert f"{found['psnr']:.2f} dB" in bnsbench(*common).out
