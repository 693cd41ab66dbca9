"""What is asked of the machine where it has less than usual."""

from __future__ import annotations

import pwd

import pytest

from bnsbench.errors import UsageError
from bnsbench.process.machine import cache_folder


@pytest.fixture
def homeless(monkeypatch):
    """A user of a container whom the system does not know."""

    def unknown(number):
        raise KeyError(number)

    for name in ("HOME", "XDG_CACHE_HOME", "BNSBENCH_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.mark.usefixtures("homeless")
def test_a_user_without_a_home_is_told_to_name_a_folder(monkeypatch, tmp_path):
    with pytest.raises(UsageError, match="There is no home folder to keep ground truth in: name a folder by BNSBENCH_CACHE"):
        cache_folder()
    monkeypatch.setenv("BNSBENCH_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
