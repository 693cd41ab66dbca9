"""What every exporter writes: what its file is for and what it cannot do, and a template with a solver's numbers."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bnsbench._version import __version__
from bnsbench.flows.guidance import guidance_in_words
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.storage.files import name_of, replacing

TEMPLATES = Path(__file__).with_name("templates")
WIDTH = 110
"""Letters of a line of prose in a generated file."""
_NUMBERS = re.compile(r"# numbers\n.*?# end of numbers\n", re.DOTALL)


def about_solver(artefact: SolverArtefact, how: str = "") -> str:
    """Return what an exported file says of itself, in paragraphs: the solver, its model, its use, and what it cannot do.

    Args:
        artefact: The solver.
        how: How the file is used.
    """
    table = artefact.solver
    paragraphs = [
        f"{artefact.name} at {table.nfe} NFE for {artefact.model or 'any model'}, on the path {artefact.path.name}.",
        f"Made by bnsbench {__version__}. The numbers are those of x[i+1] = a[i] x[0] + sum over j of b[i,j] u[j], chosen"
        f" for one network (fingerprint {artefact.fingerprint or 'none'}), {table.nfe} evaluations and guidance"
        f" {guidance_in_words(_scales(artefact))} in u_w = (1 + w) u_cond - w u_uncond, which is a guidance_scale of w + 1"
        " elsewhere. With another network, guidance, resolution or precision they may do worse than a classic solver.",
        how,
        "It goes from noise to data in one go: it cannot begin at another picture, fill gaps or stop half-way, and takes"
        " no other number of steps. It comes under bnsbench's licence (Apache-2.0), without warranty.",
    ]
    return "\n\n".join(textwrap.fill(each, WIDTH) for each in paragraphs if each)


def filled_template(text: str, artefact: SolverArtefact, values: Mapping[str, Any], how: str) -> str:
    """Return a template with a solver's numbers: a Python module that others run.

    Args:
        text: The template, which begins with a docstring ``ABOUT.`` and has its numbers between two comments, ``# numbers``
            and ``# end of numbers``.
        artefact: The solver, whose model, fingerprint and guidance stand beside the numbers.
        values: Names of the module and their values: numbers, texts and lists of them.
        how: How the module is used, for its docstring.
    """
    facts = {"MODEL": artefact.model, "FINGERPRINT": artefact.fingerprint, "GUIDANCE": origin_of(artefact)["guidance"]}
    numbers = "".join(f"{name} = {_literal(value)}\n" for name, value in {**values, **facts}.items())
    prose = about_solver(artefact, how).replace("\\", "\\\\").replace('"""', "'''")
    filled = text.replace('"""ABOUT."""', f'"""{prose}\n"""', 1)
    return _NUMBERS.sub(lambda _: numbers, filled, count=1)


def origin_of(artefact: SolverArtefact) -> dict[str, Any]:
    """Return what a solver is for, as plain data: name, nfe, model, fingerprint, guidance, path and interval."""
    guidance = artefact.guidance
    return {
        "name": artefact.name,
        "nfe": artefact.solver.nfe,
        "model": artefact.model,
        "fingerprint": artefact.fingerprint,
        "guidance": list(guidance) if isinstance(guidance, tuple) else guidance,
        "path": artefact.path.to_dict(),
        "interval": list(artefact.interval),
    }


def write_template(artefact: SolverArtefact, folder: Path, template: str, values: Mapping[str, Any], how: str) -> Path:
    """Write one of the templates of this package with a solver's numbers, and return its path."""
    text = (TEMPLATES / f"{template}.py").read_text(encoding="utf-8")
    return save_text(folder / f"{stem_of(artefact)}_{template}.py", filled_template(text, artefact, values, how))


def write_json(artefact: SolverArtefact, folder: Path, content: Mapping[str, Any], ending: str = "") -> Path:
    """Write plain data as JSON into a file that is named after the solver, and return its path."""
    return save_text(folder / f"{stem_of(artefact)}{ending}.json", json.dumps(content, indent=1, allow_nan=False) + "\n")


def stem_of(artefact: SolverArtefact) -> str:
    """Return a file's name, without its suffix, that says what the solver is for and can be imported."""
    parts = (artefact.name, artefact.model, *(f"w{w:g}" for w in _scales(artefact)), f"nfe{artefact.solver.nfe}")
    text = name_of("_".join(part for part in parts if part))
    stem = re.sub(r"[^0-9A-Za-z_]+", "_", text).strip("_").lower()
    return stem if stem[:1].isalpha() else f"solver_{stem}"


def save_text(file: Path, text: str) -> Path:
    """Write a text file, which appears whole or not at all, and return its path."""
    with replacing(file) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return file


def _literal(value: Any) -> str:
    """Return a value as Python writes it, lists of lists with a line for each."""
    if isinstance(value, list) and value and isinstance(value[0], list):
        return "[\n" + "".join(f"    {row!r},\n" for row in value) + "]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _scales(artefact: SolverArtefact) -> tuple[float, ...]:
    return artefact.guidance if isinstance(artefact.guidance, tuple) else (artefact.guidance,)
