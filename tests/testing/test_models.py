"""The checks of models: each finds its own fault and nothing else, and built-in models pass all."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnsbench.contract import PluginHost
from bnsbench.testing import check_model

FAULTS = {
    "runs": ("runs", "and states [4, 1, 2, 2] in torch.float64, predict returns [4, 1, 1, 2] in torch.float64."),
    "no-model": ("runs", "Its target returns a int."),
    "precision": ("precision", "States in torch.float32 give predictions in torch.float64."),
    "rounding": ("precision", "Its predictions in float32 and float64 differ."),
    "stuck": ("precision", "After to('cpu', torch.float32) its dtype is torch.float64."),
    "finite": ("finite", "Its velocity is not finite at t = 1, inside of its interval."),
    "deterministic": ("deterministic", "Two runs on the same input differ."),
    "batch-split": ("batch split", "Predictions change with the batch that a sample is in."),
    "input": ("input", "predict overwrites its input x."),
    "moves-state": ("random state", "It moves the global random state of torch."),
    "needs-state": ("random state", "Its results depend on the global random state."),
    "wiring": ("wiring", "It would be one if its time ran the other way, from data to noise."),
    "conditions": ("conditions", "Its conditions depend on which other indices are asked for."),
    "guidance": ("guidance", "Its guided prediction is not (1 + w) f(x | c) - w f(x)."),
    "no-null": ("guidance", "It is declared guidable, but has no null condition."),
    "unconditional": ("guidance", "It is declared guidable, but has no conditions."),
    "guidable-unsaid": ("guidance", "It has a null condition, but is declared not guidable."),
    "fingerprint": ("fingerprint", "Its fingerprint changes from one making to the next."),
    "not-hexadecimal": ("fingerprint", "Its fingerprint 'my-weights' is no hexadecimal hash."),
    "declarations": ("declarations", "Its data range is 0.0."),
    "modality": ("modality", "Its modality is 'audio' and its sample rate None."),
    "rate": ("modality", "Its modality is 'audio', but decoded samples are shaped [2, 1, 2, 2]."),
    "decode": ("modality", "Its modality is 'image', but decoded samples are shaped [2, 4]."),
    "fewer-features": ("features", "Of 4 samples it has features of shape [4, 4], and its width is 3."),
    "fewer-logits": ("features", "Its logits are not those of 3 classes."),
    "infinite-features": ("features", "Its features are not finite."),
    "features-by-chance": ("features", "Of its features: It moves the global random state of torch."),
    "features-of-batches": ("features", "Results of its features change with the batch that a sample is in."),
    "detached-features": ("differentiable", "Its features of end states have no gradient."),
    "rounded-features": ("differentiable", "The gradient of its features is zero."),
    "features-fingerprint": ("features", "The fingerprint of its features changes from one making to the next."),
    "function-of-features": ("features", "Its features are a builtin_function_or_method."),
    "judge-of-scores": ("judge", "Of 4 samples its judge finds [4, 1] in torch.float32."),
    "judge-of-batches": ("judge", "Results of its judge change with the batch that a sample is in."),
    "judge-of-smells": ("judge", "Its judge asks for a 'smell'."),
    "nameless-judge": ("judge", "The fingerprint 'me' of its judge is no hexadecimal hash."),
}


@pytest.fixture(scope="module")
def host():
    return PluginHost.load([Path(__file__).parent / "faulty_models.py"])


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("model", FAULTS)
def test_each_fault_is_found_by_its_check_alone(host, model):
    name, said = FAULTS[model]
    [fault] = check_model(model, host=host).failures
    assert fault.name == name
    assert said in fault.finding
    assert fault.remedy.endswith(".")


@pytest.mark.usefixtures("in_this_process")
def test_a_record_that_stands_for_models_without_guidance_too(host):
    """What parameters choose among need not all be guidable."""
    results = {result.name: result for result in check_model("as-asked[classes=false]", host=host).results}
    assert (results["guidance"].status, results["guidance"].finding) == (
        "not applicable",
        "With these parameters it has no conditions.",
    )
    assert not check_model("as-asked", host=host).failures


def test_a_fingerprint_that_another_process_does_not_share(host):
    """Texts hash to other numbers in every process."""
    [fault] = check_model("hash", host=host).failures
    assert (fault.name, fault.finding) == ("fingerprint", "Its fingerprint changes from one making to the next.")


@pytest.mark.usefixtures("in_this_process")
def test_a_sound_model_passes(host):
    assert {result.status for result in check_model("sound", host=host).results} == {"passed"}


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("model", ["ring8", "aniso5[path=vp]", "textures", "digits-cos", "digits-vp", "speech[task=infill]"])
def test_built_in_models_pass(host, model):
    found = check_model(model, host=host)
    assert {result.status for result in found.results} <= {"passed", "not applicable"}
    conditional = not model.startswith(("ring8", "aniso5"))
    seen = ("features", "differentiable", "judge")
    assert all(result.status == "passed" for result in found.results if result.name not in seen) == conditional
    brings = model.startswith(("digits", "speech"))
    assert {result.status == "passed" for result in found.results if result.name in seen} == {brings}


def test_a_built_in_model_is_the_same_everywhere(host):
    check_model("digits-ot", host=host).raise_if_failed()


def test_a_fingerprint_of_another_process_may_be_given_beforehand():
    own = PluginHost.load().model("ring8").make().fingerprint()
    assert not check_model("ring8", elsewhere=own).failures
    [fault] = check_model("ring8", elsewhere="0" * 64).failures
    assert fault.name == "fingerprint"
