"""The faults that a user can mend: each message is one sentence that says what, where and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bnsbench._text import spelt_out


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
    text = " ".join(str(error).split())
    return text if full_stop else text.rstrip(".")


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
