"""Records, trained tables and previews made up for pages, and pages read as trees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import numpy as np
import torch

from bnsbench.flows.paths import CondOT
from bnsbench.media.pictures import draw_images, write_sounds
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.storage.plain_data import digest
from bnsbench.suite.record import Record, Score

SAMPLES = 40
SIZES = {"learned": {"parameters": 44, "examples": 520}, "distilled": {"parameters": 123_456, "examples": 99_000}}
TRAINED = {"classic": 0, "tuned": 700, "learned": 12_345, "distilled": 54_321}


def made_record(solver, nfe, psnr, *, model="ring8", guidance=0.0, kind="classic", status="ok", reason="", file=""):
    """Return a record; without a PSNR one of a cell that was not measured."""
    named = {"provider": "builtin", "version": "1", "parameters": {}}
    cell = {
        "model": {"name": model, **named},
        "solver": {"name": solver, **named},
        "guidance": guidance,
        "nfe": nfe,
        "seed": 0,
        "samples": SAMPLES,
        "dtype": "model",
        "tolerance": 1e-6,
    }
    key = f"cell-{digest(cell)}"
    if psnr is None:
        return Record(key, cell, status, reason)
    common = np.random.default_rng(0).standard_normal(SAMPLES)
    own = np.random.default_rng(sum(solver.encode()) + nfe).standard_normal(SAMPLES)
    values = psnr + 3.0 * (common - common.mean()) + 0.3 * (own - own.mean())
    details = {"n": float(SAMPLES), "median": float(np.median(values)), "p05": float(np.quantile(values, 0.05))}
    metrics = {
        "psnr": Score("1", "higher", "dB", float(values.mean()), psnr - 0.7123, psnr + 0.7123, details=details),
        "fid-gt": Score("1", "lower", "", 100.0 / psnr**2, 90.0 / psnr**2, 110.0 / psnr**2),
    }
    known: Any = {"kind": kind, "fingerprint": "0" * 64, **({"file": file} if file else {}), **SIZES.get(kind, {})}
    return Record(
        key,
        cell,
        status,
        reason,
        metrics=metrics,
        nfe=nfe,
        forwards=nfe,
        train_forwards=TRAINED.get(kind, 0) * nfe,
        seconds={"sampling": 1.25e-5 * nfe, "total": 0.5},
        solver=known,
        truth={"ceiling": 90.0},
        model={"dtype": "float64", "fingerprint": "1" * 64},
        environment={"bnsbench": "0.1.0", "torch": "2.6", "device": "cpu"},
        per_sample={"psnr": tuple(float(each) for each in values)},
    )


PSNRS = {
    ("euler", "classic"): {4: 20.0, 8: 26.0},
    ("ab2", "classic"): {4: 21.5, 8: 29.0},
    ("ab2[grid=best]", "tuned"): {4: 24.0, 8: 33.0},
    ("bns", "learned"): {4: 30.0, 8: 41.0},
    ("student", "distilled"): {4: 29.0, 8: 41.02},
}


def made_artefact(guidance):
    """Return a trained table of 8 evaluations whose record holds the table that it began from."""
    begun = NonStationarySolver(torch.linspace(0, 1, 9), torch.ones(8), torch.full((8, 8), 0.125).tril())
    own = NonStationarySolver(torch.linspace(0, 1, 9) ** 1.25, torch.full((8,), 1.01), torch.full((8, 8), 0.1234).tril())
    training = {"start": {"name": "greedy", "table": begun.to_dict()}, "forwards": {"training": 98_760}, "seconds": 1.5}
    return SolverArtefact(own, CondOT(), (0.0, 1.0), "ring8", "1" * 64, guidance, "bns", training)


def add_previews(store, records):
    """Write previews of cells: pictures, for the model "voices" sounds."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(8, 1, 8, 8, generator=generator) * 2 - 1
    sound = torch.sin(torch.linspace(0, 900, 2000)).expand(2, -1)
    store.previews.mkdir()
    for record in records:
        name = record.key
        if record.cell["model"]["name"] == "voices":
            (store.previews / name).mkdir()
            write_sounds(0.5 * sound, sound, store.previews / name, 8000)
        else:
            noise = 0.2 * torch.randn(truth.shape, generator=generator)
            draw_images(truth + noise, truth, store.previews / f"{name}.png")


@dataclass
class Node:
    """An element of a page."""

    name: str
    attributes: dict[str, str]
    children: list[Node | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    @property
    def classes(self) -> list[str]:
        return self.attributes.get("class", "").split()

    def all(self, name="", class_="", **attributes) -> Iterator[Node]:
        """Yield the elements within that fit, in order."""
        for child in self.children:
            if isinstance(child, Node):
                if child.fits(name, class_, attributes):
                    yield child
                yield from child.all(name, class_, **attributes)

    def fits(self, name, class_, attributes) -> bool:
        wanted = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
        return (
            name in ("", self.name)
            and (not class_ or class_ in self.classes)
            and all(key in self.attributes and value in (True, self.attributes[key]) for key, value in wanted.items())
        )


class Reader(HTMLParser):
    VOID = frozenset({"meta", "img", "input", "link", "br"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open = [Node("", {})]
        self.faults: list[str] = []

    def handle_starttag(self, tag, attrs):
        node = Node(tag, {key: value or "" for key, value in attrs})
        self.open[-1].children.append(node)
        if tag not in self.VOID:
            self.open.append(node)

    def handle_startendtag(self, tag, attrs):
        self.open[-1].children.append(Node(tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag):
        if self.open[-1].name != tag:
            self.faults.append(f"</{tag}> ends <{self.open[-1].name}>")
        self.open.pop()

    def handle_data(self, data):
        self.open[-1].children.append(data)
