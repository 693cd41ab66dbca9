"""The faults that a user can mend: each message is one sentence that says what, where and what to do."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath

from bnsbench._text import spelt_out

LONGEST = 2000
"""Letters of a message of others that go into a sentence."""

_RAISER = "raised by a component of bnsbench"
"""The entry of an error's dictionary that says which component raised it."""


class BnsbenchError(Exception):
    """A fault that the user can mend; the command line prints its text without a traceback and exits with 1.

    The text may quote files of others: what a terminal would obey is spelt out in it.
    """

    exit_code = 1

    def __str__(self) -> str:
        return spelt_out(super().__str__(), kept="\n\t")


class UsageError(BnsbenchError):
    """Input that is not valid: an unknown name, a budget of zero, a malformed file; exit code 2."""

    exit_code = 2


class NotApplicableError(BnsbenchError):
    """A component that does not fit a cell, such as a two-stage rule at an odd NFE; the cell is skipped for this reason."""


class DivergedError(BnsbenchError):
    """A sampler whose states left the finite numbers; the cell is recorded as diverged with this reason."""


class CorruptFileError(BnsbenchError):
    """A file whose content does not match its recorded hash or schema."""


def one_line(error: object, *, full_stop: bool = False) -> str:
    """Return the message of an error, whoever raised it, on one line, to be put into a sentence.

    Args:
        error: The error, or a text.
        full_stop: Whether a full stop at its end stays.
    """
    text = " ".join(printable(error).split())
    return text if full_stop else text.rstrip(".")


def printable(thing: object) -> str:
    """Return the text of anything, whoever wrote its ``__str__``: it can be encoded, and is not endless.

    What cannot be encoded, such as bytes of a file's name, is spelt out; what cannot be told at all is said to be so.
    """
    try:
        text = str(str(thing))  # of a subclass of str, the plain one
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return "its text cannot be told"
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]} ..."
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def with_place(error: BaseException, *, full_stop: bool = False) -> str:
    """Return the type, the message and the place of an error, whoever raised it, on one line.

    Args:
        error: The error.
        full_stop: Whether a full stop at the end of its message stays.
    """
    # No line of the source is read, as a summary of the traceback would: that runs loaders of others. Exceptions of others
    # may have any attributes.
    frames = list(traceback.walk_tb(object.__getattribute__(error, "__traceback__")))
    place = f" ({PurePath(frames[-1][0].f_code.co_filename).name}, line {frames[-1][1]})" if frames else ""
    return f"{printable(type(error).__name__)}: {one_line(error, full_stop=full_stop)}{printable(place)}"


@contextmanager
def raised_by(component: str) -> Iterator[None]:
    """Note on an error of the block which component raised it, unless one inside of it has been noted already.

    Args:
        component: Its kind, such as "solver".
    """
    try:
        yield
    except BaseException as error:
        # Exceptions of others may have any attributes, so that only the dictionary itself can be relied on.
        object.__getattribute__(error, "__dict__").setdefault(_RAISER, component)
        raise


def forget_raiser(error: BaseException) -> None:
    """Take back what `raised_by` has noted: some components raise the same exception again and again."""
    object.__getattribute__(error, "__dict__").pop(_RAISER, None)


def raiser_of(error: BaseException) -> str | None:
    """Return which kind of component raised an error, as `raised_by` has noted; None if none is known."""
    found: str | None = object.__getattribute__(error, "__dict__").get(_RAISER)
    return found


class MissingPackageError(BnsbenchError):
    """A package that only some of bnsbench needs, and that is not installed; the text says how to install it."""


PACKAGES = {
    "filelock": "filelock",
    "matplotlib": "matplotlib",
    "numpy": "numpy",
    "pandas": "pandas",
    "PIL": "pillow",
    "platformdirs": "platformdirs",
    "pluggy": "pluggy",
    "pydantic": "pydantic",
    "rich": "rich",
    "safetensors": "safetensors",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "torch": "torch",
    "torch_fidelity": "torch-fidelity",
    "torchaudio": "torchaudio",
    "torchdiffeq": "torchdiffeq",
    "torchmetrics": "torchmetrics",
    "torchvision": "torchvision",
    "typer": "typer",
}
"""By the name that is imported: the name by which it is installed, of every package that bnsbench depends on."""


@contextmanager
def needed_for(purpose: str) -> Iterator[None]:
    """Say in one sentence what to install where an import inside the ``with`` block finds no such package.

    Args:
        purpose: What needs it, such as "pictures of samples".

    Raises:
        MissingPackageError: For a package that bnsbench depends on; any other failing import is passed on as it is.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = PACKAGES.get((error.name or "").partition(".")[0])
        if package is None:
            raise
        raise MissingPackageError(
            f"The package {package}, needed for {purpose}, is not installed: run `python -m pip install {package}`."
        ) from error
