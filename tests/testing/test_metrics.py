"""The checks of metrics: each finds its own fault and nothing else, and built-in metrics pass all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bnsbench import builtin
from bnsbench.contract import PluginHost
from bnsbench.errors import UsageError
from bnsbench.testing import check_metric
from bnsbench.testing.metrics import with_data

FAULTS = {
    "unit": ("unit", "Its unit ' dB' cannot be shown."),
    "runs": ("runs", "It returns a float."),
    "never": ("runs", "It applies to no model that it was tried on. ring8: it is for something else digits-gmm: "),
    "infinite": ("finite", "For perfect samples its value is -inf."),
    "interval": ("finite", "lies outside of its interval"),
    "direction": ("direction", "Perfect samples score 0, noisy ones "),
    "deterministic": ("deterministic", "Two runs on the same input differ."),
    "per-sample": ("per sample", "It has 255 values for 256 samples."),
    "no-mean": ("per sample", "the mean of its values per sample"),
    "batch-size": ("batch size", "A sample's value depends on the other samples."),
    "not-finite": ("not finite", "Samples that are not finite get the value nan."),
    "another-error": ("not finite", "Samples that are not finite are refused by UsageError, not DivergedError."),
    "input": ("input", "It overwrites the samples that it judges."),
    "moves-state": ("random state", "It moves the global random state of torch."),
    "needs-state": ("random state", "Its results depend on the global random state."),
}


@pytest.fixture(autouse=True)
def _quick(in_this_process):
    pass


@pytest.fixture(scope="module")
def host():
    return PluginHost.load([Path(__file__).parent / "faulty_metrics.py"])


@pytest.mark.parametrize("metric", FAULTS)
def test_each_fault_is_found_by_its_check_alone(host, metric):
    name, said = FAULTS[metric]
    [fault] = check_metric(metric, host=host).failures
    assert fault.name == name
    assert said in fault.finding
    assert fault.remedy.endswith(".")


def test_a_direction_that_there_is_not(tmp_path):
    """Such a record is never one of the host's."""
    file = tmp_path / "turned.py"
    file.write_text(
        "from bnsbench.plugin import MetricSpec, hookimpl\n\n"
        '@hookimpl\ndef bnsbench_metrics():\n    yield MetricSpec("units", ":make", "Turned.", direction="up")\n'
    )
    host = PluginHost.load([file])
    assert ["direction is 'up', but must be one of higher, lower" in problem.reason for problem in host.problems] == [True]
    with pytest.raises(UsageError, match="'units'"):
        check_metric("units", host=host)


@pytest.mark.parametrize("metric", ["sound", "images"])
def test_sound_metrics_pass(host, metric):
    assert {result.status for result in check_metric(metric, host=host).results} == {"passed"}


def test_the_model_can_be_named(host):
    [fault] = check_metric("images", on="ring8", host=host).failures
    assert (fault.name, fault.finding) == (
        "runs",
        "It applies to no model that it was tried on. ring8: it is for something else",
    )


def test_a_measure_of_variety_may_like_noise(host):
    found = {result.name: result for result in check_metric("variety", host=host).results}
    assert found["direction"].status == "hint"
    assert {result.status for name, result in found.items() if name not in ("direction", "per sample", "batch size")} == {
        "passed"
    }


OF_SETS = {
    *("fid", "fid-gt", "kid", "kid-gt", "fad", "fad-gt", "precision", "recall", "inception-score"),
    *("density", "density-gt", "coverage", "coverage-gt", "diversity"),
}
"""The built-in metrics that have no values of single samples."""


@pytest.mark.parametrize("metric", [spec.name for spec in builtin.bnsbench_metrics()])
def test_built_in_metrics_pass(host, metric):
    found = check_metric(metric, host=host)
    hints = {"direction"} if metric in {"recall", "diversity"} else set()  # noisy samples cover more, and are more diverse
    assert {result.name for result in found.results if result.status == "hint"} == hints
    assert found.failures == ()
    assert [result.name for result in found.results if result.status == "not applicable"] == (
        ["per sample", "batch size"] if metric in OF_SETS else []
    )


def test_metrics_that_ask_for_many_samples_are_told_to_do_with_few(host):
    said = {metric: check_metric(metric, host=host).results for metric in ("fad-gt", "fad-gt[minimum=4]", "fid-gt")}
    runs = {metric: next(result.finding for result in results if result.name == "runs") for metric, results in said.items()}
    assert runs == {
        "fad-gt": "It is checked with minimum=2: by itself it asks for more samples.",
        "fad-gt[minimum=4]": "",
        "fid-gt": "",
    }


def test_models_without_data_lend_their_own_samples(host):
    found = check_metric("fid[minimum=8]", on="textures", host=host)
    [fault] = found.failures
    assert "give weights=PATH" in fault.finding  # of other RGB images; what is missing is not the data
    model = host.model("speech").make()
    states = torch.randn(2, *model.shape, generator=torch.Generator().manual_seed(0))
    assert model.reference() is None
    lent = with_data(model, states)
    reference = lent.reference()
    assert reference is not None
    assert torch.equal(reference.samples, model.decode(states))
    assert isinstance(lent, type(model))
    assert model.reference() is None
