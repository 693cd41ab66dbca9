"""Documents as programs: their files are written and their commands run, in order, and what these print is compared."""

from __future__ import annotations

import re
import runpy
import shlex
import sys
import tomllib
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from io import StringIO
from pathlib import Path

from bnsbench.cli import main

ROOT = Path(__file__).parents[2]

_BLOCK = re.compile(r"(?:`([\w/.-]+)`[^`\n]*:\n\n)?```(python|console)\n(.*?)```", re.S)


def blocks(document: str) -> Iterator[tuple[str, str, str]]:
    """Yield the blocks of a document in docs/: the file that the sentence before it names, if any, language and content."""
    for match in _BLOCK.finditer((ROOT / "docs" / document).read_text(encoding="utf-8")):
        yield match[1] or "", match[2], match[3]


def replay(document: str) -> Iterator[tuple[str, str, str]]:
    """Do what a document says in the current folder; yield each command, what it prints there, and what it printed now."""
    for file, language, content in blocks(document):
        if language == "python" and file:
            Path(file).write_text(content, encoding="utf-8")
        elif language == "console":
            for step in re.split(r"^\$ ", content, flags=re.M)[1:]:
                command, _, said = step.partition("\n")
                yield command, _trimmed(said), _trimmed(_run(shlex.split(command)))


def install(folder: Path) -> None:
    """Install a package as its pyproject.toml says, without an installer; what is imported from it is read anew."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = "".join(f"{name} = {value}\n" for name, value in project["entry-points"]["bnsbench"].items())
    (info / "entry_points.txt").write_text(f"[bnsbench]\n{points}")
    sys.path.insert(0, str(folder.resolve()))


def forget() -> None:
    """Forget the modules of installed plugins, so that edited files are read again."""
    for name in [name for name in sys.modules if name.startswith("bnsbench_")]:
        del sys.modules[name]


def _run(words: list[str]) -> str:
    printed = StringIO()
    if words[:5] == ["python", "-m", "pip", "install", "-e"]:
        install(Path(words[-1]))
    elif words[0] == "python" and words[1].endswith(".py"):
        runpy.run_path(words[1], run_name="__main__")
    elif words[0] == "bnsbench":
        forget()
        with redirect_stdout(printed), suppress(SystemExit):
            main(words[1:])
    return printed.getvalue()


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines())
