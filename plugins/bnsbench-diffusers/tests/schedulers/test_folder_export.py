"""A scheduler with its code: loaded by strangers in a process in which bnsbench cannot be imported."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler

from bnsbench.paths import CondOT, Cosine, DiscreteVP
from bnsbench.plugin import UsageError
from bnsbench_diffusers.schedule import read_schedule
from bnsbench_diffusers.schedulers.folder_export import ENTRY, export_folder
from bnsbench_diffusers.schedulers.nonstationary import NonStationaryScheduler
from bnsbench_diffusers.testing.images import unet2d

pytestmark = pytest.mark.filterwarnings("ignore")

NFE = 4
DDPM = DiscreteVP.linear()
PAIRINGS = [
    *((DDPM, "epsilon"), (DDPM, "v_prediction"), (DDPM, "sample")),
    *((CondOT(), "flow_prediction"), (Cosine(), "v_prediction")),
]
FLUX = {"height": 16, "width": 16, "output_type": "latent", "prompt": "a red fox", "guidance_scale": 3.5}

STRANGER = """
import json, os, shutil, sys
sys.modules["bnsbench"] = sys.modules["bnsbench_diffusers"] = None  # whoever imports them fails
import torch
from diffusers import DiffusionPipeline

folder, told = sys.argv[1], json.loads(sys.argv[2])
found = {}
def load(name, **more):
    pipe = DiffusionPipeline.from_pretrained(f"{folder}/{name}", local_files_only=True, **more)
    pipe.set_progress_bar_config(disable=True)
    return pipe
def refusal(run):
    try:
        run()
    except ValueError as error:
        return str(error)
def images(pipe, call):
    generator = torch.Generator().manual_seed(3)
    return torch.as_tensor(pipe(generator=generator, return_dict=False, **{"num_inference_steps": 4, **call})[0])
for name, call in told.items():
    pipe = load(name, trust_remote_code=True)
    torch.save(images(pipe, call), f"{folder}/{name}.pt")
    found[name] = [type(pipe.scheduler).__name__, pipe.scheduler.config.fingerprint]
    wrong = [{"num_inference_steps": 6}] + [{"sigmas": [1.0, 0.3, 0.2, 0.1]}] * (name == "flux")
    found[f"{name} refused"] = [refusal(lambda: images(pipe, {**call, **each})) for each in wrong]
    if name == "epsilon":
        found["without trust"] = refusal(lambda: load(name))
        pipe.save_pretrained(f"{folder}/saved")
        kept = pipe
kept.scheduler = None
sys.path.insert(0, f"{folder}/epsilon/scheduler")  # one file, assigned
from scheduling_nonstationary import NonStationaryTableScheduler
kept.scheduler = NonStationaryTableScheduler()
found["assigned"] = float((images(kept, told["epsilon"]) - torch.load(f"{folder}/epsilon.pt")).abs().max())
shutil.rmtree(os.environ["HF_MODULES_CACHE"])  # another machine
for module in [module for module in sys.modules if module.startswith("diffusers_modules")]:
    del sys.modules[module]
try:
    load("saved", trust_remote_code=True)
except Exception as error:
    found["saved"] = str(error)
print(json.dumps(found))
"""


def alone(folder):
    """The scheduler of an exported file, numbers and all, imported as a module of no package."""
    spec = importlib.util.spec_from_file_location("scheduling", folder / "scheduler" / "scheduling_nonstationary.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.NonStationaryTableScheduler


def ddpm(prediction):
    pipeline = DDPMPipeline(unet2d().eval(), DDPMScheduler(prediction_type=prediction, clip_sample=False))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def with_scheduler(pipeline_folder, out, copy):
    """What the model card says to do, word for word."""
    lines = re.findall(r"^    ((?:cp|rm) .*)$", (out / "README.md").read_text(), re.MULTILINE)
    assert len(lines) == 3
    words = " && ".join(lines).replace("PIPELINE", str(pipeline_folder)).replace("COPY", str(copy))
    subprocess.run([shutil.which("sh"), "-ec", words], cwd=out, check=True)


def test_strangers_make_the_same_images(tiny, artefact_for, tmp_path):
    expected, calls = {}, {}
    flux = diffusers.DiffusionPipeline.from_pretrained(tiny("flux"), local_files_only=True)
    for name, pipeline in {"epsilon": ddpm("epsilon"), "v": ddpm("v_prediction"), "flux": flux}.items():
        theirs, kept = tmp_path / f"{name}-pipeline", tmp_path / name
        pipeline.set_progress_bar_config(disable=True)
        pipeline.save_pretrained(theirs)
        schedule = read_schedule(pipeline.scheduler)
        made = artefact_for(schedule.path, NFE, schedule.interval)
        card = export_folder(made, tmp_path / f"{name}-out", pipeline=str(theirs))
        with_scheduler(theirs, card.parent, kept)
        pipeline.scheduler = NonStationaryScheduler.from_artefact(made, pipeline.scheduler)
        calls[name] = dict(FLUX) if name == "flux" else {"batch_size": 2, "output_type": "np"}
        with torch.no_grad():
            images = pipeline(
                num_inference_steps=NFE, generator=torch.Generator().manual_seed(3), return_dict=False, **calls[name]
            )[0]
        expected[name] = torch.as_tensor(images)
    found = stranger(tmp_path, calls)
    for name, images in expected.items():
        assert float((torch.load(tmp_path / f"{name}.pt") - images).abs().max()) <= 1e-6, name
        assert found[name] == ["NonStationaryTableScheduler", "f" * 64]
        assert "call the pipeline with num_inference_steps=4, not 6" in found[f"{name} refused"][0]
    assert "has times of its own: call the pipeline without sigmas" in found["flux refused"][1]
    assert "trust_remote_code=True" in found["without trust"]
    assert found["assigned"] == 0.0
    # As the model card says, save_pretrained leaves the code out, and elsewhere the copy does not load.
    assert not (tmp_path / "saved" / "scheduler" / "scheduling_nonstationary.py").exists()
    named = json.loads((tmp_path / "saved" / "model_index.json").read_text())["scheduler"][0]
    assert named.startswith("diffusers_modules.local")
    assert "diffusers_modules" in found["saved"]


def stranger(folder, calls):
    surroundings = {**os.environ, "HF_MODULES_CACHE": str(folder / "modules"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    words = [sys.executable, "-W", "ignore", "-c", STRANGER, str(folder), json.dumps(calls)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=240, env=surroundings, cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(("path", "prediction"), PAIRINGS)
def test_equals_the_engine(path, prediction, network, noise, artefact_for, field_of, run_loop, deviation, tmp_path):
    made = artefact_for(path, 8)
    export_folder(made, tmp_path, prediction_type=prediction)
    expected = made.solver(field_of(network, path, prediction), noise * float(path.sigma(torch.tensor(0.0))))
    kind = alone(tmp_path)
    for scheduler in (kind(), kind.from_pretrained(tmp_path / "scheduler")):
        assert deviation(run_loop(scheduler, network, noise, 8), expected) < 1e-7


def test_numbers_are_those_of_the_other_scheduler(artefact_for, network, noise, run_loop, tmp_path):
    """Bit by bit, since both take the same steps."""
    made = artefact_for(CondOT(), 8)
    export_folder(made, tmp_path)
    one, other = alone(tmp_path)(), NonStationaryScheduler.from_artefact(made)
    assert torch.equal(run_loop(one, network, noise, 8), run_loop(other, network, noise, 8))
    assert torch.equal(one.timesteps, other.timesteps)
    assert torch.equal(one.sigmas, other.sigmas)


def test_the_files_say_what_they_are_for(artefact_for, tmp_path):
    card = export_folder(artefact_for(DDPM), tmp_path, prediction_type="v_prediction")
    assert card == tmp_path / "README.md"
    config = json.loads((tmp_path / "scheduler" / "scheduler_config.json").read_text())
    assert (config["_class_name"], config["nfe"], config["licence"]) == (ENTRY[1], 5, "Apache-2.0")
    assert (config["name"], config["model"], config["fingerprint"], config["guidance"]) == ("bns", "tiny", "f" * 64, 0.5)
    assert (config["prediction_type"], [len(row) for row in config["rows"]]) == ("v_prediction", [2, 3, 4, 5, 6])
    code, words = alone(tmp_path), " ".join(card.read_text().split())
    assert code.__module__ == "scheduling"
    for said in (
        '"scheduler": ["scheduling_nonstationary", "NonStationaryTableScheduler"]',
        "trust_remote_code=True",
        "`guidance_scale=1.5` (w + 1)",
        "`pipe.save_pretrained` writes the configuration of this scheduler but not its Python file",
        "no `auto_map` for schedulers",
        "network predicts `v_prediction`",
        "Apache-2.0",
        "f" * 64,
    ):
        assert said in words
    assert "$" not in words
    assert not (tmp_path / "model_index.json").exists()
    text = (tmp_path / "scheduler" / "scheduling_nonstationary.py").read_text()
    assert text.startswith('"""bns at 5 NFE for tiny, on the path discrete-vp.\n\nMade by bnsbench')
    assert "import bnsbench" not in text
    assert "from bnsbench" not in text
    assert f'FINGERPRINT = "{"f" * 64}"\nGUIDANCE = 0.5\n' in text


@pytest.mark.parametrize(
    ("scheduler", "said"),
    [
        (DDPMScheduler(), "DDPMScheduler has `clip_sample` set: it clips"),
        (DDIMScheduler(thresholding=True), "DDIMScheduler has `clip_sample` and `thresholding` set: it clips"),
        (DDIMScheduler(clip_sample=False), None),
    ],
)
def test_a_pipeline_whose_scheduler_clips(scheduler, said, artefact_for, tmp_path):
    scheduler.save_pretrained(tmp_path / "pipeline" / "scheduler")
    card = export_folder(artefact_for(DDPM), tmp_path / "out", pipeline=str(tmp_path / "pipeline"))
    words = " ".join(card.read_text().split())
    assert (said or "The table was made for the network without that") in words if said else "it clips" not in words


class TestRefusals:
    @pytest.fixture
    def scheduler(self, artefact_for, tmp_path):
        export_folder(artefact_for(CondOT(), 2), tmp_path)
        found = alone(tmp_path)()
        found.set_timesteps(2)
        return found

    def test_other_steps(self, scheduler):
        with pytest.raises(ValueError, match="call the pipeline with num_inference_steps=2, not 3"):
            scheduler.set_timesteps(3)

    def test_other_sigmas(self, scheduler):
        scheduler.set_timesteps(sigmas=np.linspace(1.0, 0.5, 2), mu=1.15)
        with pytest.raises(ValueError, match="call the pipeline without sigmas"):
            scheduler.set_timesteps(sigmas=[1.0, 0.3])

    def test_timesteps_of_the_user_s(self, scheduler):
        with pytest.raises(TypeError, match="timesteps"):
            scheduler.set_timesteps(timesteps=[999, 500])

    def test_image_to_image(self, scheduler):
        with pytest.raises(ValueError, match="cannot begin at step 1"):
            scheduler.set_begin_index(1)
        with pytest.raises(ValueError, match="cannot begin at a picture"):
            scheduler.add_noise(torch.zeros(1), torch.zeros(1), torch.tensor([500]))

    def test_inpainting(self, scheduler):
        x = scheduler.step(torch.zeros(1, 3), 0, torch.ones(1, 3)).prev_sample
        with pytest.raises(ValueError, match="changed the state between two steps"):
            scheduler.step(torch.zeros(1, 3), 0, x + 0.1)

    def test_a_damaged_configuration(self, scheduler):
        with pytest.raises(ValueError, match="this file is damaged"):
            type(scheduler)(timesteps=[1.0, 2.0, 3.0])

    def test_a_pipeline_s_own_folder(self, artefact_for, tmp_path):
        pipeline = tmp_path / "pipeline"
        ddpm("epsilon").save_pretrained(pipeline)
        kept = (pipeline / "scheduler" / "scheduler_config.json").read_bytes()
        with pytest.raises(UsageError, match=r"has a model_index.json of its own: write into a new folder"):
            export_folder(artefact_for(DDPM), pipeline, pipeline=str(pipeline))
        assert (pipeline / "scheduler" / "scheduler_config.json").read_bytes() == kept
        (tmp_path / "README.md").write_text("mine")
        with pytest.raises(UsageError, match=r"has a README.md of its own"):
            export_folder(artefact_for(CondOT()), tmp_path)

    def test_again_into_the_same_folder(self, artefact_for, tmp_path):
        pipeline = tmp_path / "pipeline"
        ddpm("epsilon").save_pretrained(pipeline)
        for nfe in (5, 6):
            export_folder(artefact_for(DDPM, nfe), tmp_path / "out", pipeline=str(pipeline))
        assert alone(tmp_path / "out")().config.nfe == 6

    def test_a_model_index_that_is_none(self, artefact_for, tmp_path):
        pipeline = tmp_path / "pipeline"
        DDPMScheduler().save_pretrained(pipeline / "scheduler")
        (pipeline / "model_index.json").write_text("{")
        with pytest.raises(UsageError, match=r"model_index.json is no description of a pipeline"):
            export_folder(artefact_for(DDPM), tmp_path / "out", pipeline=str(pipeline))
        assert not (tmp_path / "out").exists()

    def test_another_path(self, artefact_for, tmp_path):
        DDPMScheduler(beta_schedule="scaled_linear").save_pretrained(tmp_path / "pipeline" / "scheduler")
        with pytest.raises(UsageError, match="another path than the pipeline's"):
            export_folder(artefact_for(DDPM), tmp_path / "out", pipeline=str(tmp_path / "pipeline"))
