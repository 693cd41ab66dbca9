"""Samples on a page: pictures side by side, sounds with their spectrograms, from the previews of a run."""

from __future__ import annotations

import base64
import io
import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bnsbench.report.page.boards import scrolled
from bnsbench.report.page.figures import named_in
from bnsbench.report.page.markup import Html, tag, void
from bnsbench.report.page.palette import Ink, swatch
from bnsbench.report.page.sources import Cell, Scenario
from bnsbench.suite.previews import COUNT

SHOWN = 4
"""Samples of a cell that are shown, in a square."""
SIDE = 320
"""The longest side of a picture that is no sheet of samples."""

_RAMP = np.array([[13, 8, 60], [110, 20, 110], [215, 80, 70], [250, 180, 60], [252, 250, 190]], dtype=np.float64)


class Allowance:
    """Bytes of samples that a page may still take, and the number of cells of which nothing is shown for want of them."""

    def __init__(self, left: int) -> None:
        """Begin with so many bytes."""
        self.left, self.refused = left, 0

    def uri(self, content: bytes, kind: str) -> str | None:
        """Return the content as a data URI; None if it does not fit any more."""
        text = f"data:{kind};base64,{base64.b64encode(content).decode()}"
        if len(text) > self.left:
            self.refused += 1
            return None
        self.left -= len(text)
        return text


@dataclass(frozen=True)
class Shot:
    """What is shown of a cell: the sample and its ground truth, as data URIs."""

    sample: str
    truth: str = ""
    sound: str = ""
    true_sound: str = ""


def gallery(scenario: Scenario, colours: Mapping[str, Ink], allowance: Allowance) -> Html | None:
    """Return the samples of a scenario from the same noise: rows are solvers, columns NFE, the ground truth first.

    Shown are the solvers that the scenario's figures name; those at the headline NFE take their bytes first.

    Args:
        scenario: The scenario.
        colours: Of the page's solvers.
        allowance: The bytes that are left.

    Returns:
        None if there are no previews.
    """
    if not scenario.measures:
        return None
    solvers = named_in(scenario, scenario.measures[0].name)
    nfe = sorted(scenario.nfe, key=lambda n: (abs(n - scenario.headline), n))
    shots: dict[tuple[str, int], Shot] = {}
    truth: Shot | None = None
    for n in nfe:
        for solver in solvers:
            cell = scenario.cell(solver, n)
            found = None if cell is None else _shot(cell, scenario.source.previews, allowance, first=truth is None)
            if found is not None:
                shots[solver, n] = found
                truth = truth or found
    if truth is None:
        return None
    return _grid(scenario, [solver for solver in solvers if any(key[0] == solver for key in shots)], shots, truth, colours)


def _grid(
    scenario: Scenario,
    solvers: Sequence[str],
    shots: Mapping[tuple[str, int], Shot],
    truth: Shot,
    colours: Mapping[str, Ink],
) -> Html:
    head = [tag("th", "solver", scope="col"), *(tag("th", f"{n} NFE", scope="col", data_n=n) for n in scenario.nfe)]
    exact = _shown(truth.truth, truth.true_sound, "ground truth")  # none of points, which are drawn beside theirs
    first = tag("tr", tag("th", "ground truth", scope="row"), tag("td", exact, class_="truth", colspan=len(scenario.nfe)))
    rows = []
    for solver in solvers:
        cells = []
        for n in scenario.nfe:
            shot = shots.get((solver, n))
            shown = None if shot is None else _shown(shot.sample, shot.sound, f"{solver}, {n} NFE")
            cells.append(tag("td", shown, data_n=n))
        name = tag("th", swatch(colours[solver]), tag("span", solver), scope="row")
        rows.append(tag("tr", name, cells, data_s=colours[solver].number, data_k=scenario.kinds[solver]))
    sounds = bool(truth.sound)
    caption = f"{scenario.title}: {'sounds' if sounds else 'samples'} from the same noise"
    table = tag(
        "table", tag("caption", caption), tag("thead", tag("tr", head)), tag("tbody", first if exact else None, rows)
    )
    toggle = tag("button", "Difference from the ground truth", type="button", class_="differ", aria_pressed="false")
    compared = bool(truth.truth) and not sounds
    whole = scrolled(caption, table)
    return tag("div", tag("p", toggle) if compared else None, whole, class_=f"gallery{' pictures' if compared else ''}")


def _shown(picture: str, sound: str, caption: str) -> list[Html]:
    parts = []
    if picture:
        image = void("img", src=picture, alt=f"samples: {caption}" if not sound else f"spectrogram: {caption}")
        parts.append(tag("button", image, type="button", class_="shot", data_caption=caption))
    if sound:
        parts.append(tag("audio", src=sound, controls=True, preload="none", aria_label=caption))
    return parts


def _shot(cell: Cell, folder: Path, allowance: Allowance, first: bool) -> Shot | None:
    """Return what the previews have of a cell, its ground truth only if it is the first; None if nothing, or no room."""
    if (folder / cell.key / "000.wav").is_file():
        return _sound(folder / cell.key, allowance, first)
    try:
        with Image.open(folder / f"{cell.key}.png") as file:
            pixels = np.asarray(file.convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    from bnsbench.media.pictures import sheet_pairs  # noqa: PLC0415 (loads torch and matplotlib)

    pairs = sheet_pairs(pixels, min(COUNT, int(cell.row["samples"])))
    if pairs is None:
        picture = Image.fromarray(pixels)
        picture.thumbnail((SIDE, SIDE))
        whole = allowance.uri(_png(picture), "image/png")
        return None if whole is None else Shot(whole)
    sample, truth = (
        allowance.uri(_png(_square(part[:SHOWN])), "image/png") if wanted else ""
        for part, wanted in zip(pairs, (True, first), strict=True)
    )
    return None if sample is None else Shot(sample, truth or "")


def _sound(folder: Path, allowance: Allowance, first: bool) -> Shot | None:
    """Return the first sound of a cell with its spectrogram."""
    found: list[str] = []
    for name in ("000.wav", "000-truth.wav")[: 1 + first]:
        try:
            content = (folder / name).read_bytes()
            picture = _png(_spectrogram(folder / name))
        except (OSError, EOFError, ValueError, RuntimeError):
            return None
        uris = [allowance.uri(content, "audio/wav"), allowance.uri(picture, "image/png")]
        if None in uris:
            return None
        found += [uri or "" for uri in uris]
    sound, sample, true_sound, truth = [*found, "", ""][:4]
    return Shot(sample, truth, sound, true_sound)


def _spectrogram(file: Path) -> Image.Image:
    from bnsbench.media.pictures import LOUD, QUIET, spectrogram  # noqa: PLC0415 (loads torch and matplotlib)
    from bnsbench.media.wav import read_wav  # noqa: PLC0415 (likewise)

    try:
        sound, _ = read_wav(file)
    except wave.Error as error:
        raise ValueError(str(error)) from error
    shares = np.clip((spectrogram(sound) - QUIET) / (LOUD - QUIET), 0.0, 1.0)
    return Image.fromarray(_coloured(shares[::-1][::2])).quantize(64)


def _coloured(shares: NDArray[np.float64]) -> NDArray[np.uint8]:
    places = np.linspace(0.0, 1.0, len(_RAMP))
    return np.stack([np.interp(shares, places, _RAMP[:, k]) for k in range(3)], axis=-1).round().astype(np.uint8)


def _square(images: NDArray[np.uint8]) -> Image.Image:
    """Return images [n, h, w, 3] as one picture, two beside each other."""
    pairs = [np.concatenate(list(images[k : k + 2]), axis=1) for k in range(0, len(images) - len(images) % 2, 2)]
    return Image.fromarray(np.concatenate(pairs or [images[0]]))


def _png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    if image.mode == "RGB" and _grey(image):
        image = image.convert("L")
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _grey(image: Image.Image) -> bool:
    red, green, blue = (np.asarray(each) for each in image.split())
    return bool((red == green).all() and (green == blue).all())
