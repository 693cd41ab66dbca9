"""Finding and loading pipelines, and what is said where that fails."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import diffusers
import pytest
import torch

from bnsbench.plugin import NonStationarySolver, NotApplicableError, SolverArtefact, UsageError
from bnsbench_diffusers.models.base import Options
from bnsbench_diffusers.models.fingerprint import network_digest
from bnsbench_diffusers.models.loading import find_folder, load_pipeline, stored_dtype
from bnsbench_diffusers.models.registry import FAMILIES, diffusers_model, find_family, wrap
from bnsbench_diffusers.schedule import read_schedule
from bnsbench_diffusers.schedulers.conventions import path_of, prediction_type_of
from bnsbench_diffusers.schedulers.nonstationary import NonStationaryScheduler
from bnsbench_diffusers.schedulers.saved import scheduler_of
from bnsbench_diffusers.testing import make_tiny_pipeline


def test_the_selector_names_the_folder(tiny, bnsbench, tmp_path, capsys):
    folder, file = tiny("ddpm"), tmp_path / "tuned.json"
    words = ("--nfe", "2", "--tolerance", "0.1", "--output", str(file), "--quiet")
    assert bnsbench("tune", f"diffusers/diffusers[path={folder}]", *words) == 0, capsys.readouterr()
    assert SolverArtefact.load(file).fingerprint == diffusers_model(str(folder)).fingerprint()


def test_a_pipeline_in_memory(tiny):
    pipe = load_pipeline(tiny("ddpm"))
    assert wrap(pipe).fingerprint() == diffusers_model(str(tiny("ddpm"))).fingerprint()


def test_active_adapters_are_part_of_the_fingerprint_with_their_scale(tiny):
    pipe = load_pipeline(tiny("ddpm"))
    model = wrap(pipe)
    plain = model.fingerprint()
    # As PEFT keeps them in its layers, where a scale is in no weight.
    pipe.unet.conv_in.__dict__.update(active_adapters=["style"], merged_adapters=[], scaling={"style": 1.0})
    first = model.fingerprint()
    pipe.unet.conv_in.scaling["style"] = 0.5
    assert len({plain, first, model.fingerprint()}) == 3
    assert model.network_state().adapters == ("style x 0.5",)
    assert model.network_state().quantisation == ""


def test_every_family_can_be_imported():
    assert all(callable(find_family(name)) for name in FAMILIES)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("", "needs a pipeline"),
        ("nowhere", "no folder 'nowhere'"),
        ("./no/where", "no folder"),
        ("C:\\pipelines", "no hub id"),
    ],
)
def test_no_pipeline(path, words):
    with pytest.raises(UsageError, match=words):
        diffusers_model(path)


def test_a_folder_without_a_pipeline(tmp_path):
    with pytest.raises(UsageError, match=r"no model_index\.json"):
        diffusers_model(str(tmp_path))


@pytest.mark.parametrize("content", ["", "[]", "{}"])
def test_a_malformed_index(tmp_path, content):
    (tmp_path / "model_index.json").write_text(content)
    with pytest.raises(UsageError, match="does not name the class"):
        diffusers_model(str(tmp_path))


def test_an_unknown_class_lists_the_known(tmp_path):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "KandinskyPipeline"}))
    with pytest.raises(UsageError, match=r"KandinskyPipeline are not supported; supported: .*DiTPipeline, FluxPipeline"):
        diffusers_model(str(tmp_path))


@pytest.fixture
def saved(tiny, tmp_path):
    """The folder of a pipeline that was saved with a solver."""
    pipe = load_pipeline(tiny("ddpm"))
    path = read_schedule(pipe.scheduler).path
    times = torch.linspace(0, 1, 3, dtype=torch.float64)
    solver = NonStationarySolver(times, torch.ones(2), torch.tensor([[0.5, 0.0], [0.5, 0.5]]))
    pipe.scheduler = NonStationaryScheduler(solver.to_dict(), path.to_dict(), prediction_type="v_prediction")
    pipe.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def program(text, *words):
    """What a program prints in a process of its own, and whether it ended well."""
    done = subprocess.run([sys.executable, "-c", text, *map(str, words)], capture_output=True, text=True, check=False)
    return done.stdout.split(), done.returncode == 0


def test_a_pipeline_saved_with_a_solver_is_a_model(saved, tiny):
    """In a process that has imported nothing of the schedulers; what is saved says what its network was trained for."""
    load = "from bnsbench_diffusers.models.registry import diffusers_model"
    text = f"import sys; {load}; print(diffusers_model(sys.argv[1]).fingerprint())"
    assert program(text, saved) == ([diffusers_model(str(tiny("ddpm"))).fingerprint()], True)


def test_a_pipeline_saved_with_a_solver_loads_with_one_import(saved):
    load = "import sys, diffusers, bnsbench_diffusers.schedulers.nonstationary"
    text = f"{load}; print(diffusers.DiffusionPipeline.from_pretrained(sys.argv[1]).scheduler.table.nfe)"
    assert program(text, saved) == (["2"], True)


def test_an_export_for_a_pipeline_saved_with_a_solver(saved, tmp_path):
    scheduler = scheduler_of(saved)
    assert path_of(scheduler) == diffusers_model(str(saved)).path
    assert prediction_type_of(scheduler) == "v_prediction"


def test_missing_weights(tiny, tmp_path):
    folder = shutil.copytree(tiny("ddpm"), tmp_path / "pipeline")
    shutil.rmtree(folder / "unet")
    with pytest.raises(UsageError, match="could not be loaded"):
        diffusers_model(str(folder))


def test_a_hub_id_is_passed_on(tiny, monkeypatch):
    asked = []

    def download(name, **options):
        asked.append((name, options))
        return str(tiny("ddpm"))

    monkeypatch.setattr(diffusers.DiffusionPipeline, "download", download)
    assert find_folder("google/ddpm-cifar10-32", variant="fp16", revision="main") == tiny("ddpm")
    assert asked == [("google/ddpm-cifar10-32", {"variant": "fp16", "revision": "main"})]


def test_a_hub_that_does_not_answer(monkeypatch):
    def download(name, **options):
        raise OSError("no\nnetwork.")

    monkeypatch.setattr(diffusers.DiffusionPipeline, "download", download)
    with pytest.raises(UsageError, match="the hub does not give it: no network"):
        find_folder("google/ddpm-cifar10-32")


def test_the_precision_is_the_stored_one(tiny, tmp_path):
    pipe = load_pipeline(tiny("sd"))
    pipe.to(torch.bfloat16).save_pretrained(tmp_path)
    model = diffusers_model(str(tmp_path))
    assert stored_dtype(tmp_path) == model.dtype == torch.bfloat16
    field = model.field(model.describe("a house")[None], 1.0)
    x = torch.randn(1, *model.shape)
    with torch.no_grad():
        assert field(torch.tensor(0.5), x).dtype == torch.float32
        assert model.decode(x).dtype == torch.float32


def test_a_variant(tiny, tmp_path):
    load_pipeline(tiny("ddpm")).to(torch.float16).save_pretrained(tmp_path, variant="fp16")
    assert diffusers_model(str(tmp_path), variant="fp16").dtype == torch.float16


def test_the_precision_can_be_changed(load):
    model = load("ddpm")
    before = model.fingerprint()
    moved = model.to("cpu", torch.float64)
    assert moved.dtype == moved.network.dtype == torch.float64
    assert moved.fingerprint() == before


def test_parts_that_want_float32_keep_it(load, monkeypatch, capsys):
    model = load("ddpm")
    monkeypatch.setattr(type(model.network), "_keep_in_fp32_modules", ["conv_out"])
    model.to("cpu", torch.bfloat16)
    precisions = {name.partition(".")[0]: part.dtype for name, part in model.network.named_parameters()}
    assert precisions.pop("conv_out") == torch.float32
    assert set(precisions.values()) == {torch.bfloat16}
    assert capsys.readouterr().err == ""


def test_a_kept_fingerprint_follows_the_files(tiny, tmp_path):
    folder = shutil.copytree(tiny("ddpm"), tmp_path / "pipeline")
    network = load_pipeline(folder).unet
    first = network_digest(network, folder / "unet")
    assert first == network_digest(network)
    other = load_pipeline(make_tiny_pipeline("ddpm", folder, seed=1)).unet
    assert network_digest(other, folder / "unet") == network_digest(other) != first


def test_the_seed_makes_the_weights(tiny, tmp_path):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    again = make_tiny_pipeline("ddpm", tmp_path)
    assert torch.equal(torch.rand(1), expected)
    assert diffusers_model(str(again)).fingerprint() == diffusers_model(str(tiny("ddpm"))).fingerprint()


def test_an_unknown_kind(tmp_path):
    with pytest.raises(UsageError, match="no kind of pipeline 'sd9'"):
        make_tiny_pipeline("sd9", tmp_path)


@pytest.mark.parametrize(
    ("kind", "options", "word"),
    [
        ("ddpm", {"size": 16}, "size"),
        ("dit", {"negative": "ugly"}, "negative"),
        ("ddpm", {"null_class": 0}, "null_class"),
        ("sd3", {"embedded_guidance": 2.0}, "embedded_guidance"),
        ("sd", {"seconds": 2.0}, "seconds"),
        ("ddpm", {"seconds": 2.0}, "seconds"),
        ("audioldm2", {"size": 16}, "size"),
        ("stable-audio", {"null_class": 1}, "null_class"),
        ("flux", {"negative": "ugly"}, "negative"),
    ],
)
def test_a_parameter_without_use_is_refused(load, kind, options, word):
    with pytest.raises(UsageError, match=f"no use for the parameter '{word}'"):
        load(kind, **options)


def test_prompts_for_a_network_that_reads_none(tiny, prompts_file):
    with pytest.raises(UsageError, match="'prompts'"):
        diffusers_model(str(tiny("ddpm")), prompts=str(prompts_file))


def test_classes_take_turns(load):
    model = load("ddpm-class")
    assert model.conditions(torch.tensor([0, 5, 6, 13])).tolist() == [0, 5, 0, 1]
    assert model.describe("4").item() == 4
    with pytest.raises(UsageError, match="no class 'cat'"):
        model.describe("cat")
    with pytest.raises(NotApplicableError, match="w = 0"):
        model.field(model.conditions(torch.arange(1)), 1.0)(torch.tensor(0.5), torch.zeros(1, *model.shape))


def test_a_class_that_stands_for_none(load):
    model = load("ddpm-class", null_class=2)
    assert model.conditions(torch.arange(6)).tolist() == [0, 1, 3, 4, 5, 0]
    assert model.null_condition(torch.tensor([0, 1])).tolist() == [2, 2]
    assert model.fingerprint() != load("ddpm-class").fingerprint()
    with pytest.raises(UsageError, match="no class 6"):
        load("ddpm-class", null_class=6)


def test_classes_of_dit_have_names(load, tiny, tmp_path):
    folder = shutil.copytree(tiny("dit"), tmp_path / "named")
    index = json.loads((folder / "model_index.json").read_text())
    index["id2label"] = {"0": "tench, Tinca tinca", "1": "goldfish"}
    (folder / "model_index.json").write_text(json.dumps(index))
    model = load("dit", folder=folder)
    assert model.describe("goldfish").item() == 1
    assert model.describe("Tinca tinca").item() == 0
    assert model.null_condition(torch.tensor([3])).item() == 1000


def test_flux_is_not_guided(load):
    model = load("flux")
    with pytest.raises(NotApplicableError, match="embedded_guidance"):
        model.field(model.conditions(torch.arange(1)), 1.0)(torch.tensor(0.5), torch.zeros(1, *model.shape))
    assert load("flux", embedded_guidance=2.0).fingerprint() != model.fingerprint()


@pytest.mark.parametrize(
    ("kind", "size", "shape"),
    [("sd", 20, (4, 10, 10)), ("sd3", 24, (8, 12, 12)), ("flux", 8, (4, 4, 4)), ("sana", 24, (4, 6, 6))],
)
def test_the_size_of_images(load, kind, size, shape):
    model = load(kind, size=size)
    assert model.shape == shape
    with torch.no_grad():
        x = torch.randn(1, *shape)
        assert model.field(model.conditions(torch.arange(1)))(torch.tensor(0.5), x).shape == x.shape
        assert model.decode(x).shape[2:] == (size, size)


def test_audioldm2_whose_gpt2_cannot_generate(tiny, load, tmp_path):
    """As in repositories from before transformers moved generation out of models without a head."""
    folder = shutil.copytree(tiny("audioldm2"), tmp_path / "pipeline")
    index = json.loads((folder / "model_index.json").read_text())
    assert index["language_model"][1] == "GPT2LMHeadModel"
    index["language_model"] = ["transformers", "GPT2Model"]
    (folder / "model_index.json").write_text(json.dumps(index))
    load_pipeline(tiny("audioldm2")).language_model.transformer.save_pretrained(folder / "language_model")
    first, second = (load("audioldm2", place) for place in (tiny("audioldm2"), folder))
    told = [model.told(torch.zeros(1), model.describe("a quiet evening")[None]) for model in (first, second)]
    for name, states in told[0].items():
        assert torch.equal(states, told[1][name])


def test_the_length_of_sounds(load):
    assert load("audioldm2", seconds=0.02).fingerprint() != load("audioldm2").fingerprint()
    assert load("stable-audio", seconds=0.02).fingerprint() != load("stable-audio").fingerprint()
    with pytest.raises(UsageError, match=r"at least 0\.008 seconds, not 0\.001"):
        load("audioldm2", seconds=0.001)
    for seconds in (0.2, -1.0):
        with pytest.raises(UsageError, match=r"at most 0\.128 seconds"):
            load("stable-audio", seconds=seconds)


def test_stable_audio_without_torchsde(tiny, monkeypatch):
    def refuse(*args, **options):
        raise ImportError("CosineDPMSolverMultistepScheduler requires the torchsde library.")

    monkeypatch.setattr(diffusers.DiffusionPipeline, "from_pretrained", refuse)
    with pytest.raises(
        UsageError, match=r"requires the torchsde library\. .* Stable Audio needs bnsbench-diffusers\[audio\]"
    ):
        diffusers_model(str(tiny("stable-audio")))


def test_a_size_that_does_not_fit(load):
    with pytest.raises(UsageError, match="multiple of 4 pixels, not 18"):
        load("sd3", size=18)


def test_unets_that_need_more_than_text(tiny):
    pipe = load_pipeline(tiny("sd"))
    pipe.unet.register_to_config(in_channels=9)
    with pytest.raises(UsageError, match="9 channels"):
        wrap(pipe, Options())


def test_loading_leaves_progress_bars_as_they_were(tiny):
    from diffusers.utils import logging

    logging.enable_progress_bar()
    load_pipeline(Path(tiny("ddpm")))
    assert logging.is_progress_bar_enabled()
