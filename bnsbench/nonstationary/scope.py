"""The scope of a table: for which model, guidance and network state it was trained, and what differs elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bnsbench.errors import UsageError
from bnsbench.flows.guidance import guidance_in_words
from bnsbench.flows.model import Model
from bnsbench.flows.network_state import NetworkState, adapted, quantised, samples_of

MEASURED = "transfer"
"""The entry of a training record that says how the table was measured to do elsewhere."""

HINT = "`bnsbench transfer` measures how it does there."
"""What can be done about a table that is used elsewhere."""


@dataclass(frozen=True)
class Scope:
    """Where a table was trained, or where it is used; what is not known differs from nothing.

    Args:
        model: Its name; "" if it is not known.
        fingerprint: Of the model; "" if it is not known.
        guidance: The scale w, or all that the table was trained for; () if they are not known.
        network: Shape, precision, quantisation and adapters.
    """

    model: str = ""
    fingerprint: str = ""
    guidance: tuple[float, ...] = ()
    network: NetworkState = field(default_factory=NetworkState)

    @classmethod
    def of(cls, model: Model, name: str, guidance: float | Sequence[float] = ()) -> Scope:
        """Return where a table is used that samples a model under a guidance scale."""
        scales = tuple(guidance) if isinstance(guidance, Sequence) else (guidance,)
        return cls(name, model.fingerprint(), scales, model.network_state())

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-like description."""
        known = {"model": self.model, "fingerprint": self.fingerprint, "guidance": list(self.guidance)}
        return {**known, "network": self.network.to_dict()}

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> Scope:
        """Return the scope that ``to_dict`` described; LookupError, TypeError or ValueError for anything else."""
        model, fingerprint = (str(description[name]) for name in ("model", "fingerprint"))
        scales = tuple(float(w) for w in description["guidance"])
        return cls(model, fingerprint, scales, NetworkState.from_dict(description["network"]))


def differences(trained: Scope, used: Scope) -> str:
    """Return in one sentence what differs between where a table was trained and where it is used; "" if nothing does.

    It is the place where the two are compared, for all that use a table. Path and interval are not part of it: without them
    a table's times mean nothing, so that its users refuse what differs there.
    """
    here = list(_differing(trained, used))
    if not here:
        return ""
    own, other = trained.network, used.network
    there = [f"for {trained.model}"] if trained.model else []
    there += [f"at w = {guidance_in_words(trained.guidance)}"] if trained.guidance else []
    there += [f"with {samples_of(own.shape)}"] if own.shape is not None else []
    there += [f"in {own.dtype}"] if own.dtype is not None else []
    there += [quantised(own.quantisation)] if _unlike(own.quantisation, other.quantisation) else []
    there += [adapted(own.adapters)] if _unlike(own.adapters, other.adapters) else []
    return f"The table was made {' '.join(there)}, and is used {' '.join(here)}."


def remark(trained: Scope, used: Scope, record: Mapping[str, Any], strict: bool = False) -> str:
    """Return `differences` with what was measured there, or how it is measured; "" if nothing differs.

    Args:
        trained: Where the table was trained.
        used: Where it is used.
        record: Of its training.
        strict: Whether to refuse what is only told otherwise.

    Raises:
        UsageError: If strict and something differs.
    """
    sentence = differences(trained, used)
    if sentence and strict:
        raise UsageError(f"{sentence} Train one there, or use it without strict.")
    return f"{sentence} {measured(trained, used, record) or HINT}" if sentence else ""


def measured(trained: Scope, used: Scope, record: Mapping[str, Any]) -> str:
    """Return what was measured of a table where it is used, as a sentence; "" if nothing was, or the record is odd.

    record: of its training, in which `bnsbench transfer` may have noted how the table does elsewhere.
    """
    used = _completed(used, trained)
    entries: Any = record.get(MEASURED)
    for entry in entries if isinstance(entries, list) else []:
        try:
            if not any(_differing(Scope.from_dict(entry["scope"]), used)):
                return _measured(entry)
        except (LookupError, TypeError, ValueError, AttributeError):
            continue
    return ""


def with_measured(record: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a training record with what was measured elsewhere, each in place of what it said of the same scope."""
    new = [entry["scope"] for entry in found]
    kept: Any = record.get(MEASURED)
    known = [entry for entry in kept if isinstance(entry, Mapping)] if isinstance(kept, list) else []
    others = [entry for entry in known if entry.get("scope") not in new]
    return {**record, MEASURED: [*others, *found]}


def _differing(trained: Scope, used: Scope) -> Iterator[str]:
    """Yield in what the place of use differs, as the end of "is used"."""
    own, other = trained.network, used.network
    if trained.fingerprint and used.fingerprint and trained.fingerprint != used.fingerprint:
        yield f"on other weights ({used.model})" if used.model else "on other weights"
    strange = [w for w in used.guidance if w not in trained.guidance]
    if trained.guidance and strange:
        yield f"at w = {guidance_in_words(strange)}"
    if other.shape is not None and _unlike(own.shape, other.shape):
        yield f"with {samples_of(other.shape)}"
    if _unlike(own.dtype, other.dtype):
        yield f"in {other.dtype}"
    if _unlike(own.quantisation, other.quantisation):
        yield quantised(other.quantisation)
    if _unlike(own.adapters, other.adapters):
        yield adapted(other.adapters)


def _completed(used: Scope, trained: Scope) -> Scope:
    """Return where a table is used with what is not known there as it was in training."""
    known = {name: value for name, value in vars(used.network).items() if value is not None}
    network = replace(trained.network, **known)
    return Scope(used.model, used.fingerprint or trained.fingerprint, used.guidance or trained.guidance, network)


def _unlike(one: object, other: object) -> bool:
    """Return whether two facts are known and differ."""
    return one is not None and other is not None and one != other


def _measured(entry: Mapping[str, Any]) -> str:
    """Return a sentence on an entry of a record: the difference to a table trained there, else to the best classic."""
    samples, psnr = int(entry["samples"]), float(entry["psnr"])
    for key, what in (("specialist", "a table trained there"), ("classic", "the best tuned classic there")):
        other = entry.get(key)
        if isinstance(other, Mapping):
            gap, low, high = (float(other[name]) for name in ("difference", "low", "high"))
            side, ends = ("above", (low, high)) if gap >= 0 else ("below", (-high, -low))
            interval = f"95 % interval {ends[0]:.1f} to {ends[1]:.1f}, {samples} samples"
            return f"There it was measured {abs(gap):.1f} dB {side} {what} ({interval})."
    return f"There it was measured at {psnr:.1f} dB ({samples} samples)."
