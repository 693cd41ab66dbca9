"""The pages of published results, a picture of one, and the README's figure: `python -m tests.docs.pages` makes them anew.

They lie in docs/pages. The picture needs Chromium and is left out without. `python -m tests.docs.pages FOLDER` tells what
was verified, too: in FOLDER, NAME.json holds what `bnsbench verify --json` has printed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from bnsbench.report.page.build import build_page
from bnsbench.report.page.sources import read_sources, scenarios
from bnsbench.report.paper import Choice, chosen, draw_paper_figure
from bnsbench.suite.store import find_results, write_text

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "pages"
PUBLISHED = ("default", "paper")
"""The folders of results that have a page."""

PICTURED, SIZE, COLOURS = "default", (1440, 1000), 64
"""Of which page there is a picture, its size in pixels, and in how many colours it is kept."""

FIGURED, SOLVERS = ("digits-ot, w = 2", "fashion-ot, w = 2", "scenes, w = 2", "speech, w = 2"), ("bns", "tuned", "euler")
"""The panels of the README's figure, and the solvers that it names."""


def draw_figure() -> None:
    """Draw the README's figure as ``bnsbench plot results/default --kind curves`` does."""
    found = chosen(list(scenarios(read_sources([find_results(ROOT / "results" / "default")]))), FIGURED)
    draw_paper_figure(found, "curves", Choice("psnr", SOLVERS, width=10.0), FOLDER / "curves.png")


def make_page(name: str, verification: Path | None = None) -> Path:
    """Write the page of published results and return where it is.

    Args:
        name: Of the folder of results.
        verification: What `bnsbench verify --json` has printed on it.
    """
    page = build_page([find_results(ROOT / "results" / name)], verifications=[verification] if verification else [])
    write_text(FOLDER / f"{name}.html", page)
    return FOLDER / f"{name}.html"


def take_picture(page: Path, chromium: str) -> None:
    """Write what a browser shows first of a page, as a small PNG beside it."""
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        screen = [f"--window-size={SIZE[0]},{SIZE[1]}", "--hide-scrollbars", f"--user-data-dir={folder}"]
        how = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--screenshot={shot}"]
        subprocess.run([chromium, *how, *screen, page.as_uri()], check=True, capture_output=True, timeout=120)
        with Image.open(shot) as picture:
            picture.convert("RGB").quantize(COLOURS).save(page.with_suffix(".png"), optimize=True)


def main(verifications: Path | None = None) -> None:
    """Make every page and the figure, and the picture where there is a browser."""
    draw_figure()
    for name in PUBLISHED:
        told = verifications / f"{name}.json" if verifications else None
        page = make_page(name, told if told and told.is_file() else None)
        chromium = shutil.which("chromium")
        if name == PICTURED and chromium:
            take_picture(page, chromium)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else None)
