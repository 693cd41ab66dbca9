"""The exporter ``diffusers-folder``: a solver as a scheduler with its code, for pipelines anywhere."""

from __future__ import annotations

import json
from pathlib import Path
from string import Template
from typing import Any

from bnsbench.plugin import SolverArtefact, UsageError, about_solver, filled_template, one_line, replacing
from bnsbench_diffusers.schedulers.export import folder_of, scheduler_for
from bnsbench_diffusers.schedulers.nonstationary import NonStationaryScheduler
from bnsbench_diffusers.schedulers.scheduling_nonstationary import NonStationaryTableScheduler

HERE = Path(__file__).parent
MODULE = "scheduling_nonstationary"
ENTRY = [MODULE, NonStationaryTableScheduler.__name__]
"""What model_index.json says of the scheduler."""
INDEX = "model_index.json"
CARD = "README.md"


def export_folder(artefact: SolverArtefact, folder: Path, pipeline: str = "", prediction_type: str = "") -> Path:
    """Write a scheduler with its code and numbers, and a model card, whose path is returned.

    pipeline: the folder of the pipeline that the scheduler is for, by default that of the model, if it is
        ``diffusers[path=...]``. Its own scheduler says what its network predicts, and a copy of its model_index.json with
        the scheduler's entry is written beside the card. UsageError if the solver is for another path, or a file of
        others would be replaced, as in the pipeline's own folder.
    prediction_type: what the network predicts, if there is no pipeline to ask.
    """
    _refuse_other_files(folder)
    made, theirs = scheduler_for(artefact, pipeline, prediction_type)
    numbers = made.numbers()
    index = _index_of(pipeline or folder_of(artefact.model))
    how = "NonStationaryTableScheduler() takes the place of a pipeline's scheduler; the model card says how."
    code = (HERE / f"{MODULE}.py").read_text(encoding="utf-8")
    constants = {name.upper(): value for name, value in numbers.items()}
    _write(folder / "scheduler" / f"{MODULE}.py", filled_template(code, artefact, constants, how))
    NonStationaryTableScheduler(**numbers).save_pretrained(folder / "scheduler")
    if index is not None:
        _write(folder / INDEX, json.dumps({**index, "scheduler": ENTRY}, indent=2) + "\n")
    _write(folder / CARD, _card(artefact, made, theirs, with_index=index is not None))
    return folder / CARD


def _refuse_other_files(folder: Path) -> None:
    """Raise UsageError if a file of others would be replaced, such as those of a pipeline; ours name the scheduler."""
    for name in (INDEX, CARD, f"scheduler/{MODULE}.py", "scheduler/scheduler_config.json"):
        file = folder / name
        if file.exists() and ENTRY[1] not in file.read_text(encoding="utf-8", errors="replace"):
            raise UsageError(
                f"{folder} has a {name} of its own: write into a new folder, whose model card says how a copy of a pipeline"
                " gets the scheduler."
            )


def _index_of(place: str) -> dict[str, Any] | None:
    """Return what the model_index.json of a pipeline's folder says, None if there is none."""
    file = Path(place) / INDEX
    if not place or not file.is_file():
        return None
    try:
        found = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file} is no description of a pipeline: {one_line(error)}.") from error
    return found if isinstance(found, dict) else None


def _card(artefact: SolverArtefact, made: NonStationaryScheduler, theirs: Any, *, with_index: bool) -> str:
    """Return the model card, in Markdown."""
    template = Template((HERE / "model_card.md.template").read_text(encoding="utf-8"))
    nfe = artefact.solver.nfe
    return template.substitute(
        title=f"{artefact.name} at {nfe} NFE for {artefact.model or 'any model'}",
        about=about_solver(artefact),
        prediction_type=made.prediction_type,
        clipping=_clipping(theirs),
        nfe=nfe,
        guidance=_guidance(artefact),
        overlay=_OVERLAY if with_index else "",
    )


_OVERLAY = """
The `model_index.json` beside this card is that of the pipeline, with this line:

    cp -r PIPELINE COPY
    rm -r COPY/scheduler
    cp -r scheduler model_index.json COPY
"""


def _guidance(artefact: SolverArtefact) -> str:
    scales = artefact.guidance if isinstance(artefact.guidance, tuple) else (artefact.guidance,)
    values = " or ".join(f"`guidance_scale={1 + w:g}`" for w in scales)
    return (
        f"Where the pipeline mixes answers with and without the condition, call it with {values} (w + 1). Where the network"
        " is told its guidance instead (Flux), it is told what it was told in training."
    )


def _clipping(theirs: Any) -> str:
    """Return a paragraph if the pipeline's own scheduler clips what the network predicts, which a table does not."""
    config = {} if theirs is None else theirs.config
    set_there = [name for name in ("clip_sample", "thresholding") if config.get(name)]
    if not set_there:
        return ""
    named = " and ".join(f"`{name}`" for name in set_there)
    return (
        f"\nThe pipeline's own {type(theirs).__name__} has {named} set: it clips the predicted data at every step. The table"
        "\nwas made for the network without that, and does not clip; the difference is largest under strong guidance.\n"
    )


def _write(file: Path, text: str) -> None:
    with replacing(file) as temporary:
        temporary.write_text(text, encoding="utf-8")
