from __future__ import annotations

import pytest

from bnsbench.contract.specs import ModelSpec
from bnsbench.flows.model import Model


@pytest.fixture(autouse=True)
def _without_installed_plugins(monkeypatch):
    monkeypatch.setenv("BNSBENCH_PLUGINS", "")


@pytest.fixture
def in_this_process(monkeypatch):
    """Spare the checks their process for the listing and the fingerprint, which are tested apart."""
    from bnsbench.testing import records

    def found(subject):
        made = subject.selection.make() if isinstance(subject.spec, ModelSpec) else None
        return {"modules": [], "fingerprint": made.fingerprint() if isinstance(made, Model) else ""}

    monkeypatch.setattr(records, "_in_another_process", found)
