"""``FILE.py:NAME``: a model of a user's file, with the modules that lie beside it."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from bnsbench.contract import PluginHost
from bnsbench.contract.model_files import model_in_file, plugin_name
from bnsbench.errors import UsageError
from bnsbench.flows.model import Model

MODELS = """
import bnsbench
from neighbour_of_models import network

model = bnsbench.wrap(network, shape=(2,), fingerprint="1", check=False)
picture = bnsbench.wrap(network, shape=(3, 4, 4), conditions=3, null_condition=0, fingerprint="2", check=False)
sound = bnsbench.wrap(network, shape=(2,), sample_rate=8000, fingerprint="3", check=False)

def make():
    return bnsbench.wrap(network, shape=(2,), fingerprint="1", check=False)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    (tmp_path / "neighbour_of_models.py").write_text("def network(t, x, *condition):\n    return -x\n")
    (tmp_path / "models.py").write_text(MODELS)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("models.py:make", (Path("models.py"), "make")),
        ("a/b.c/models.py:_x1", (Path("a/b.c/models.py"), "_x1")),
        ("models.py", None),
        ("models.py:", None),
        ("models.py:a.b", None),
        ("models.txt:make", None),
        ("ring8[path=vp]", None),
    ],
)
def test_what_means_a_model_in_a_file(text: str, found: tuple[Path, str] | None) -> None:
    assert model_in_file(text) == found


def test_a_plugin_file_is_called_by_its_stem_and_a_model_in_it_by_both() -> None:
    assert plugin_name(Path("a/models.py")) == "models"
    assert plugin_name(Path("a/models.py:make")) == "models.make"


@pytest.mark.parametrize(
    ("name", "modality", "guidable"),
    [("model", "points", False), ("picture", "image", True), ("sound", "audio", False), ("make", "points", True)],
)
def test_a_model_or_what_makes_one(folder: Path, name: str, modality: str, guidable: bool) -> None:
    host = PluginHost.load([folder / f"models.py:{name}"])
    assert host.problems == ()
    selection = host.model(f"models.{name}/{name}")
    assert (selection.spec.modality, selection.spec.guidable) == (modality, guidable)
    again = pickle.loads(pickle.dumps(host)).model(name)  # noqa: S301 (as worker processes get it)
    for each in (selection, again):
        model = each.make()
        assert isinstance(model, Model)
        x = torch.ones(1, *model.shape)
        condition = model.conditions(torch.arange(1))
        assert model.predict(torch.tensor(0.5), x, condition).tolist() == (-x).tolist()


def test_the_version_follows_the_file(folder: Path) -> None:
    first = PluginHost.load([folder / "models.py:model"]).model("model").spec.version
    (folder / "models.py").write_text(MODELS + "# changed\n")
    assert PluginHost.load([folder / "models.py:model"]).model("model").spec.version != first


def test_a_name_that_is_not_there(folder: Path) -> None:
    (problem,) = PluginHost.load([folder / "models.py:nothing"]).problems
    assert problem.reason == "it could not be loaded: AttributeError: there is no nothing in it (model_files.py, line 43)."


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.py:model' could not be read: No such file"):
        PluginHost.load([tmp_path / "nowhere.py:model"])


def test_a_file_that_is_really_called_so(tmp_path: Path) -> None:
    odd = tmp_path / "models.py:make"
    odd.write_text("from bnsbench.plugin import hookimpl\n")
    assert PluginHost.load([odd]).problems == ()


def test_a_selector_of_a_suite_never_means_a_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(UsageError, match=r"There is no model 'models\.py:make'"):
        PluginHost.load().model("models.py:make")
