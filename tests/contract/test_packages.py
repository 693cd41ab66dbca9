"""Who asks for what a package of the project offers, and lacks the package, is told its name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bnsbench.contract import PluginHost, packages
from bnsbench.contract.packages import OFFERED, package_hint
from bnsbench.errors import UsageError

PLUGINS = Path(__file__).parents[2] / "plugins"


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "installed_version", lambda package: None)
    monkeypatch.setenv("BNSBENCH_PLUGINS", "")


@pytest.mark.parametrize("package", OFFERED)
def test_the_names_are_those_that_the_package_offers(package: str) -> None:
    source = (PLUGINS / package / package.replace("-", "_") / "plugin.py").read_text(encoding="utf-8")
    listed = {name for names in OFFERED[package].values() for name in names}
    assert set(re.findall(r'name="([^"]+)"', source)) <= listed
    assert all(f'"{name}"' in source for name in listed)


@pytest.mark.usefixtures("lacking")
def test_a_missing_package_is_named() -> None:
    host = PluginHost.load()
    said = "the package bnsbench-diffusers, which is not installed, offers one"
    for kind, name in (("model", "diffusers[path=x]"), ("metric", "clip-score"), ("exporter", "diffusers-folder")):
        with pytest.raises(UsageError, match=f"There is no {kind} '{name.split('[')[0]}'; {said}"):
            getattr(host, kind)(name)
    with pytest.raises(UsageError, match=f"There is no suite 'text-to-image'; {said}"):
        host.suite("text-to-image")


def test_one_that_is_installed_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "installed_version", lambda package: "0.1.0")
    assert package_hint("metric", "clip-score") is None


@pytest.mark.usefixtures("lacking")
def test_a_name_of_another_kind_or_plugin_is_none_of_it() -> None:
    assert package_hint("solver", "clip-score") is None
    with pytest.raises(UsageError, match=r"There is no metric .clip-score.; (choose from|did you mean)"):
        PluginHost.load().metric("builtin/clip-score")
