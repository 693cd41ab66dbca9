"""A short version of ``python -m tests.survival kills``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.survival import kills

ROOT = Path(__file__).parents[2]


def test_killed_runs_end_as_undisturbed(tmp_path):
    words = [sys.executable, "-m", "tests.survival", "kills", "--kills", "8", "--folder", str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)  # noqa: PLW1510 (looked at)
    assert done.stdout.endswith("all ends are as undisturbed, and no record was lost\n"), done.stdout + done.stderr


def test_what_differs_would_be_found(tmp_path):
    """The comparison itself: every file and every byte of it counts."""
    for name in ("a", "b"):
        (tmp_path / name / "cells").mkdir(parents=True)
        (tmp_path / name / "cells" / "x.json").write_text("{}")
    assert kills._content(tmp_path / "a") == kills._content(tmp_path / "b")
    (tmp_path / "b" / "cells" / ".x.json.tmp").touch()
    assert kills._content(tmp_path / "a") != kills._content(tmp_path / "b")
    (tmp_path / "b" / "cells" / ".x.json.tmp").unlink()
    (tmp_path / "b" / "cells" / "x.json").write_text("{ }")
    assert kills._content(tmp_path / "a") != kills._content(tmp_path / "b")
