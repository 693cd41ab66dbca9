"""What components return, checked where it enters: numbers that are numbers, tensors that are what they stand for.

Each check returns the plain value, or raises a `BnsbenchError` whose sentence begins with "it", to be put behind the name of
the component. Nothing here imports torch.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bnsbench.errors import BnsbenchError, printable

if TYPE_CHECKING:
    from torch import Tensor

QUOTED = 60
"""Letters of a wrong value that a sentence quotes."""


def kind_of(value: object) -> str:
    """Return what a value is, with its article, for a sentence."""
    name = "None" if value is None else printable(type(value).__name__)
    if value is None:
        return name
    return f"{'an' if name[:1].lower() in set('aeiou') else 'a'} {name}"


def wrong_value(value: object) -> str:
    """Return a wrong value for a sentence, with its kind where that is what is wrong with it."""
    if isinstance(value, str):
        text = printable(value)
        return f"the text {text if len(text) <= QUOTED else text[:QUOTED] + '...'!r}"
    if isinstance(value, bool):
        return f"the truth value {value}"
    if isinstance(value, int):
        return "a whole number of more digits than a number in a record can have"
    return printable(value) if isinstance(value, float) else kind_of(value)


def real(value: object, what: str) -> float:
    """Return a real number, of Python, NumPy or torch, as a float, which need not be finite.

    Args:
        value: What a component has returned.
        what: What it is, such as "its value".

    Raises:
        BnsbenchError: For anything else: texts, truth values, lists, complex numbers, numbers too large.
    """
    plain = _plain(value)
    if isinstance(plain, bool) or not isinstance(plain, numbers.Real):
        raise BnsbenchError(f"it returned {wrong_value(plain)} as {what}, where a real number belongs")
    try:
        return float(plain)
    except (OverflowError, ValueError, TypeError):
        raise BnsbenchError(f"it returned {wrong_value(plain)} as {what}") from None


def finite(value: object, what: str) -> float:
    """Return a finite real number as a float; as `real`, and BnsbenchError for one that is not finite."""
    found = real(value, what)
    if not math.isfinite(found):
        raise BnsbenchError(f"it returned {found} as {what}, which is not finite")
    return found


def finite_or_none(value: object, what: str) -> float | None:
    """Return a finite real number as a float, or None for None, which says that there is none; as `finite`."""
    return None if value is None else finite(value, what)


def several(values: Any, what: str, count: int | None = None) -> tuple[float, ...]:
    """Return real numbers, which need not be finite, as floats.

    Args:
        values: A sequence, or an array or tensor of one axis.
        what: What they are, such as "per-sample values".
        count: How many there have to be; None for any number.

    Raises:
        BnsbenchError: If they are no such sequence, not that many, or not all real numbers.
    """
    listed: Any = values.tolist() if _is_array(values) else values
    if isinstance(listed, str | bytes) or not isinstance(listed, Sequence):
        raise BnsbenchError(f"it returned {wrong_value(listed)} as {what}, where a sequence of numbers belongs")
    if count is not None and len(listed) != count:
        raise BnsbenchError(f"it returned {len(listed)} {what} for {count} samples")
    return tuple(real(value, f"one of the {what}") for value in listed)


def whole(value: object, what: str, least: int = 0) -> int:
    """Return a whole number of at least ``least``, of Python, NumPy or torch; BnsbenchError for anything else."""
    plain = _plain(value)
    if isinstance(plain, float) and plain.is_integer():
        plain = int(plain)
    if isinstance(plain, bool) or not isinstance(plain, numbers.Integral):
        raise BnsbenchError(f"it returned {wrong_value(plain)} as {what}, where a whole number belongs")
    found = int(plain)
    if not least <= found < 2**63:
        raise BnsbenchError(f"it returned {'too large a number' if found > 0 else 'too small a number'} as {what}")
    return found


def text(value: object, what: str) -> str:
    """Return a text that can be encoded; BnsbenchError for anything that is no text."""
    if not isinstance(value, str):
        raise BnsbenchError(f"it returned {wrong_value(value)} as {what}, where a text belongs")
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def mapping(value: object, what: str) -> dict[str, Any]:
    """Return a mapping with texts as keys as a dictionary; BnsbenchError for anything else."""
    if not isinstance(value, Mapping):
        raise BnsbenchError(f"it returned {wrong_value(value)} as {what}, where names with values belong")
    return {text(key, f"a name of {what}"): each for key, each in value.items()}


def states(found: object, like: Tensor, what: str, *, same_type: bool = True) -> Tensor:
    """Return a tensor of real numbers, shaped like another one and where that lies.

    Args:
        found: What a component has returned.
        like: What it has to be like.
        what: What it is, such as "states".
        same_type: Whether its precision has to be the same as well.

    Raises:
        BnsbenchError: If it is anything else.
    """
    tensor = real_tensor(found, what)
    if tensor.shape != like.shape:
        raise BnsbenchError(f"it returned {what} of shape {list(tensor.shape)} instead of {list(like.shape)}")
    if tensor.device != like.device:
        raise BnsbenchError(f"it returned {what} on {tensor.device} instead of {like.device}")
    if same_type and tensor.dtype != like.dtype:
        raise BnsbenchError(f"it returned {what} in {_name(tensor.dtype)} instead of {_name(like.dtype)}")
    return tensor


def rows_or_none(found: object, count: int, what: str) -> Tensor | None:
    """Return a tensor of so many rows, or None if there is none; BnsbenchError for anything else."""
    import torch  # noqa: PLC0415 (only whoever has a tensor gets here)

    if found is not None and not isinstance(found, torch.Tensor):
        raise BnsbenchError(f"it returned {kind_of(found)} instead of {what}")
    if found is not None and (not found.ndim or len(found) != count):
        raise BnsbenchError(f"it returned {what} of shape {list(found.shape)} for {count} samples")
    return found


def real_tensor(found: object, what: str) -> Tensor:
    """Return a dense tensor of floating-point numbers; BnsbenchError for anything else."""
    import torch  # noqa: PLC0415 (only whoever has a tensor gets here)

    if not isinstance(found, torch.Tensor):
        raise BnsbenchError(f"it returned {kind_of(found)} instead of {what}")
    if not found.is_floating_point():
        raise BnsbenchError(f"it returned {what} in {_name(found.dtype)}, which holds no real numbers")
    if found.layout != torch.strided or found.is_quantized:
        raise BnsbenchError(f"it returned {what} in a layout that is not dense")
    return found


def _plain(value: Any) -> Any:
    """Return the number that an array or tensor of one element holds; anything else as it is."""
    if _is_array(value):
        return value.item() if value.size == 1 or getattr(value, "numel", lambda: 0)() == 1 else value
    # Scalars of NumPy are numbers of Python's kinds, but for some.
    return value.item() if hasattr(value, "dtype") and hasattr(value, "item") else value


def _is_array(value: Any) -> bool:
    """Whether it is an array of NumPy or a tensor, by what both have."""
    return (
        hasattr(value, "tolist")
        and hasattr(value, "dtype")
        and hasattr(value, "ndim")
        and not isinstance(value, numbers.Number)
    )


def _name(dtype: object) -> str:
    return str(dtype).removeprefix("torch.")
