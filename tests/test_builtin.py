"""The built-in components: complete, sound, and their targets exist and take their parameters."""

from __future__ import annotations

import inspect
import json
import shutil
from pathlib import Path

import pytest

import bnsbench
from bnsbench import builtin
from bnsbench.contract import PluginHost, Selection
from bnsbench.models.weights import weights_fingerprint
from bnsbench.suite.suitefile import read_suite
from bnsbench.training.distil import Choices

with pytest.MonkeyPatch.context() as patch:
    patch.setenv("BNSBENCH_PLUGINS", "")
    HOST = PluginHost.load()
RECORDS = [*HOST.models, *HOST.solvers, *HOST.metrics, *HOST.executors, *HOST.reports]


def label(record):
    return f"{type(record).__name__}-{record.name}"


def test_nothing_is_wrong_with_them():
    assert [problem.reason for problem in HOST.problems if problem.plugin == "builtin"] == []


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (
            "models",
            {
                *("ring8", "aniso5", "textures", "scenes", "speech", "fashion-ot", "fashion-vp"),
                *("digits-gmm", "digits-ot", "digits-cos", "digits-vp"),
            },
        ),
        ("solvers", {"euler", "midpoint", "heun", "rk4", "ab2", "ddim", "dpm++2m", "unipc", "deis", "bns"}),
        ("metrics", {"psnr", "fid", "fid-gt", "accuracy"}),
        ("suites", {"default", "learned", "paper", "quick"}),
        ("executors", {"local", "processes"}),
        ("reports", {"markdown", "latex", "csv", "json"}),
    ],
)
def test_names(kind, names):
    assert names <= {record.name for record in getattr(HOST, kind)}


@pytest.mark.parametrize("record", RECORDS, ids=label)
def test_target_takes_the_parameters(record):
    target = Selection(record, record.parameters).resolve()
    signature = inspect.signature(target)
    if label(record).startswith(("Model", "Metric", "Executor")):
        signature.bind(**record.parameters)
    else:
        before = {"SolverSpec": (0, 1) if getattr(record, "trained", False) else (0, 1, 2), "ReportSpec": (0,)}[
            type(record).__name__
        ]
        signature.bind(*before, **record.parameters)


@pytest.mark.parametrize("record", RECORDS, ids=label)
def test_declared_defaults_are_the_target_s_own(record):
    """A record that says another default than the function misleads whoever reads either."""
    own = dict(inspect.signature(Selection(record, record.parameters).resolve()).parameters)
    if own.pop("choices", None):  # a trainer passes on what it does not know itself
        own |= inspect.signature(Choices).parameters
    stated = {name: own[name].default for name in record.parameters if own[name].default is not inspect.Parameter.empty}
    assert stated == {name: record.parameters[name] for name in stated}


@pytest.mark.parametrize("record", RECORDS, ids=label)
def test_summary_is_a_sentence(record):
    assert record.summary[0].isupper() or record.summary[0].isdigit()
    assert record.summary.endswith(".")
    assert len(record.summary) <= 100


@pytest.mark.parametrize("record", HOST.models, ids=label)
def test_models_are_as_declared(record):
    model = Selection(record, record.parameters).make()
    conditions = model.conditions(bnsbench_indices())
    assert (conditions is not None) == record.guidable
    assert len(model.shape) == {"image": 3, "points": 1, "audio": 2}[record.modality]
    assert (model.sample_rate is not None) == (record.modality == "audio")


def bnsbench_indices():
    import torch

    return torch.arange(4)


@pytest.mark.parametrize("suite", HOST.suites, ids=lambda suite: suite.name)
def test_suites_name_components_that_exist(suite):
    content = read_suite(suite.file)
    for entry in content.full_entries():
        HOST.model(entry.name)
        for name in entry.solvers or ():
            HOST.solver(name)
        for name in entry.metrics or ():
            HOST.metric(name)


def test_versions_of_networks_follow_their_weights(tmp_path, monkeypatch):
    weights = Path(bnsbench.__file__).parent / "models" / "weights"
    copy = tmp_path / "models" / "weights"
    copy.mkdir(parents=True)
    shutil.copy(weights / "manifest.json", copy)
    monkeypatch.setattr(builtin, "_PACKAGE", tmp_path)
    before = {spec.name: spec.version for spec in builtin.bnsbench_models()}
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["digits-ot"]["sha256"] = "0123456789abcdef" * 4
    (copy / "manifest.json").write_text(json.dumps(manifest))
    after = {spec.name: spec.version for spec in builtin.bnsbench_models()}
    assert {name for name in before if before[name] != after[name]} == {"digits-ot"}
    assert after["digits-ot"] == "1+0123456789ab"


def test_versions_of_metrics_follow_the_weights_of_their_classifier(tmp_path, monkeypatch):
    digits, scenes, speech = (weights_fingerprint(f"{kind}-classifier")[:12] for kind in ("digits", "scenes", "speech"))
    versions = {spec.name: spec.version for spec in builtin.bnsbench_metrics()}
    seen = dict.fromkeys(["perceptual", "fid", "fid-gt", "kid", "kid-gt", "precision", "recall"], f"2+{digits}+{scenes}")
    heard = dict.fromkeys(["fad", "fad-gt", "word-accuracy"], f"2+{speech}")
    read = {"accuracy": f"2+{digits}", "inception-score": f"2+{digits}", "alignment": f"2+{scenes}"}
    plain = dict.fromkeys(["ssim", "snr", "waveform-snr", "si-sdr", "log-spectral", "mcd"], "2") | {"psnr": "1"}
    variety = dict.fromkeys(["density", "density-gt", "coverage", "coverage-gt", "diversity", "preference"], "1")
    assert versions == {**seen, **heard, **read, **plain, **variety}
    monkeypatch.setattr(builtin, "_PACKAGE", tmp_path)
    assert {spec.version for spec in builtin.bnsbench_metrics()} == {"1", "2"}


def test_missing_weights_do_not_hide_the_models(tmp_path, monkeypatch):
    monkeypatch.setattr(builtin, "_PACKAGE", tmp_path)
    assert len(list(builtin.bnsbench_models())) == 11
