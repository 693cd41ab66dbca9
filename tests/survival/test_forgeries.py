"""A third of the forgeries, and that the catalogue is what it says; `python -m tests.survival forgeries` tries all."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnsbench.contract import PluginHost
from tests.survival import forgeries
from tests.survival.__main__ import parts, run
from tests.survival.catalogue import CATALOGUE
from tests.survival.forging import PLUGIN, honest_run

SHORT = [*CATALOGUE[::3], *[forgery for forgery in CATALOGUE if forgery.trained][:1]]


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("honest")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BNSBENCH_CACHE", str(folder / "cache"))
        patch.setenv("BNSBENCH_PLUGINS", "")
        return honest_run(folder)


@pytest.fixture
def host(honest, monkeypatch):
    monkeypatch.setenv("BNSBENCH_CACHE", str(honest.parents[1] / "cache"))
    return PluginHost.load([PLUGIN])


def test_the_honest_run_has_no_faults(honest, host):
    from bnsbench.suite.store import ResultStore

    found = forgeries.look(ResultStore(honest), host, "training")
    assert (found.faults, found.unchecked, found.coverage.retrained, found.exit_code) == ((), (), 7, 0)


@pytest.mark.parametrize("forgery", {forgery.name: forgery for forgery in SHORT}.values(), ids=lambda forgery: forgery.name)
def test_it_is_found(forgery, honest, host, tmp_path):
    outcome = forgeries.try_forgery(forgery, honest, tmp_path, host)
    assert outcome.expected, (outcome.way, outcome.said)


def test_the_catalogue_is_long_and_says_what_is_beyond_it():
    names = [forgery.name for forgery in CATALOGUE]
    assert len(names) == len(set(names)) >= 60
    assert sum(not forgery.beyond for forgery in CATALOGUE) >= 100
    page = Path(__file__).parents[2] / "docs" / "reference" / "files.md"
    assert f"forges a small run in {len(CATALOGUE)} ways" in " ".join(page.read_text(encoding="utf-8").split())


def test_parts_are_found_by_their_main(capsys):
    assert "forgeries" in parts()
    assert not {"forging", "catalogue", "__main__"} & parts().keys()
    assert run([]) == 0
    assert "forgeries: Forged results" in capsys.readouterr().out
    assert run(["nothing"]) == 2
