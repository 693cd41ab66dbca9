"""Commands on the pages exist, and so do their options."""

from __future__ import annotations

import pytest

from tests.docs import commands
from tests.docs.replay import ROOT
from tests.docs.site import pages

PAGES = [*pages(), ROOT / "results/training/README.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_on_pages_exist(page):
    faults = [fault for words in commands.shown(page.read_text(encoding="utf-8")) if (fault := commands.fault(words))]
    assert faults == []


def test_commands_are_found_on_pages():
    page = "Try `bnsbench list models`:\n\n    bnsbench run --no-such \\\n        --seed 3 && bnsbench walk\n"
    assert [commands.fault(words) for words in commands.shown(page)] == [
        "",
        "run has no option --no-such",
        "there is no command 'walk'",
    ]


@pytest.mark.parametrize("words", commands.all_commands())
def test_the_reference_knows_what_the_help_knows(words, run_help):
    """The page is made from the functions; typer must say the same."""
    text = run_help(words)
    for parameter in commands.all_commands()[words].parameters:
        for name in parameter.names:
            assert name in text


@pytest.fixture
def run_help(capsys):
    from bnsbench.cli import main

    def run(words: str) -> str:
        with pytest.raises(SystemExit):
            main([*words.split(), "--help"])
        return capsys.readouterr().out

    return run
