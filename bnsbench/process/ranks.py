"""Several processes that do one piece of work together, as torchrun starts them: each takes its share of the samples.

All of them run the same program on the same numbers, and come to the same decisions. What is done sample by sample is done
by each on its own share, and all get the results of all; what a file, a clock or a cache decides, the first process
decides for all. A process by itself is a team of one, of which none of this is seen.

Before a team exchanges anything, everyone says what it is about to do, or why it cannot: a fault of one is raised in all.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.autograd import forward_ad

from bnsbench.errors import BnsbenchError, one_line

_T = TypeVar("_T")

PATIENCE = timedelta(days=7)
"""How long a process waits for the others; that one of them has gone is noticed at once."""
ALIGNED = 16
"""Bytes at whose multiples tensors begin in what is exchanged."""


_TOLD = "known to all of the team"
"""What an error is marked as that the others have heard of, or that nobody is left to hear of."""


class TeamError(BnsbenchError):
    """A team that cannot go on: a process has gone, or they have come to different decisions."""


@dataclass
class Team:
    """The processes that work together, and this one among them.

    rank: the number of this process. size: how many there are.
    """

    rank: int = 0
    size: int = 1
    _sharing: bool = field(default=False, repr=False)
    _counted: list[tuple[Callable[[int], None], int]] = field(default_factory=list, repr=False)

    @property
    def first(self) -> bool:
        """Whether this process decides for all, writes and prints."""
        return self.rank == 0

    @property
    def sharing(self) -> bool:
        """Whether this process is at its share of something."""
        return self._sharing

    def divides(self, count: int) -> bool:
        """Whether so many samples are shared out: not one by one, and not those of a share."""
        return self.size > 1 and not self._sharing and count >= self.size

    def each_share(self, count: int, do: Callable[[slice], _T]) -> list[_T]:
        """Return what ``do`` gives for the share of each process, in order, without a graph.

        Args:
            count: The number of samples.
            do: Takes the samples of a share; tensors in what it returns, in tuples and lists too, come to all processes.

        Raises:
            BnsbenchError: Whatever ``do`` has raised in one of the processes, of any type.
            TeamError: If another process has gone, or is at something else.
        """
        if not self.divides(count):
            return [do(slice(0, count))]
        with self._at_its_share():
            found, error = _attempted(lambda: do(self._share(count)))
        parcel = _Parcel.of(found)
        said = self._agreed(_Said(f"shares of {count}", parcel.content, error, self._number()))
        self._count([each.counted for each in said])
        received = self._received(parcel, [cast("_Content", each.content) for each in said])
        return [cast("_T", each) for each in received]

    def rejoined(self, count: int, do: Callable[[slice], Tensor]) -> Tensor:
        """Return what ``do`` gives for all samples [count, ...], from the shares of all processes.

        Autograd follows into this process's own share alone: see `gradient_of_all`.
        """
        if not self.divides(count):
            return do(slice(0, count))
        with self._at_its_share():
            found, error = _attempted(lambda: do(self._share(count)))
        if error is not None:
            found = torch.zeros(())
        return cast("Tensor", _Rejoined.apply(found, self, count, error))  # type: ignore[no-untyped-call]

    def gradient_of_all(self, parameters: Tensor, count: int) -> Tensor:
        """Return the parameters, whose gradient is the sum of what comes to them from the shares of ``count`` samples."""
        if not self.divides(count):
            return parameters
        return cast("Tensor", _GradientOfAll.apply(parameters, self))  # type: ignore[no-untyped-call]

    def total(self, value: Tensor) -> Tensor:
        """Return the sum over all processes of a tensor of one shape, added up in float64 and in the same order by all."""
        if self.size == 1:
            return value
        each = self.each_share(self.size, lambda _: value)
        return torch.stack([part.double() for part in each]).sum(0).to(value)

    def of_first(self, make: Callable[[], _T]) -> _T:
        """Return what ``make`` gives in the first process, which alone calls it; it is pickled on its way to the others.

        Raises:
            BnsbenchError: Whatever ``make`` has raised, of any type.
        """
        if self.size == 1 or self._sharing:
            return make()
        found, error = _attempted(make) if self.first else (None, None)
        said = self._agreed(_Said("a decision", found, error))
        return cast("_T", said[0].content)

    def count(self, add: Callable[[int], None], number: int) -> None:
        """Add a number of what has been done; of what is done for a share, the number of all shares comes later."""
        if self._sharing:
            self._counted.append((add, number))
        else:
            add(number)

    def farewell(self, error: BaseException | None) -> None:
        """Tell the others that this process has come to its end, well or by a fault; raise theirs if it was well."""
        if self.size > 1:
            self._agreed(_Said("the end", None, error))

    def _share(self, count: int) -> slice:
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    @contextmanager
    def _at_its_share(self) -> Iterator[None]:
        self._sharing, self._counted = True, []
        try:
            yield
        finally:
            self._sharing = False

    def _number(self) -> int:
        """Return what has been counted in this process's share."""
        return sum(number for _, number in self._counted)

    def _count(self, numbers: Sequence[int]) -> None:
        """Add what has been counted in all shares."""
        counted, self._counted = self._counted, []
        if counted:
            counted[0][0](sum(numbers))

    def _agreed(self, own: _Said) -> list[_Said]:
        """Return what all processes say; raise the first fault among it, and TeamError if they are at different things."""
        said: list[Any] = [None] * self.size
        with _reachable(self.size):
            torch.distributed.all_gather_object(said, own.sendable())
        for error in (own.error, *(each.error for each in said)):
            if error is not None:
                raise _told(error)
        if any(each.doing != own.doing for each in said):
            raise _told(
                TeamError(
                    f"The {self.size} processes have come to different decisions ({', '.join(each.doing for each in said)}):"
                    " start them on machines of one kind, with the same versions, files and options."
                )
            )
        return said

    def _received(self, parcel: _Parcel, contents: Sequence[_Content]) -> list[Any]:
        """Return what has been packed by each process, its tensors on this one's devices."""
        buffers: dict[str, list[Tensor]] = {}
        for kind, own in parcel.bytes_by_kind().items():
            sizes = [content.size(kind) for content in contents]
            padded = own.new_zeros(max(sizes))
            padded[: len(own)] = own
            buffers[kind] = [torch.empty_like(padded) for _ in contents]
            with _reachable(self.size):
                torch.distributed.all_gather(buffers[kind], padded)
        return [
            content.unpacked({kind: each[rank] for kind, each in buffers.items()}) for rank, content in enumerate(contents)
        ]


@dataclass
class _Said:
    """What a process tells the others: what it is at, what goes with that, its fault, and what it has counted."""

    doing: str
    content: Any
    error: BaseException | None = None
    counted: int = 0

    def sendable(self) -> _Said:
        """Return it with an error that can be sent."""
        if self.error is None:
            return self
        try:
            pickle.loads(pickle.dumps(self.error))  # noqa: S301 (its own)
        except Exception:  # noqa: BLE001 (of whatever type: its sentence is enough)
            return _Said(self.doing, None, BnsbenchError(f"{type(self.error).__name__}: {one_line(self.error)}"))
        return _Said(self.doing, None, self.error)


@dataclass(frozen=True)
class _Place:
    """Where a tensor lies in the bytes of a kind of device, and whether it is the tangent's half of a dual number."""

    kind: str
    start: int
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def stop(self) -> int:
        return self.start + self.dtype.itemsize * torch.Size(self.shape).numel()

    def read(self, buffers: dict[str, Tensor]) -> Tensor:
        return buffers[self.kind][self.start : self.stop].view(self.dtype).reshape(self.shape)


@dataclass(frozen=True)
class _Dual:
    """A dual number's value and tangent."""

    value: Any
    tangent: Any


@dataclass(frozen=True)
class _Content:
    """What is sent, with places in place of tensors, and the bytes that these take by kind of device."""

    packed: Any
    sizes: dict[str, int]

    def size(self, kind: str) -> int:
        return self.sizes.get(kind, 0)

    def unpacked(self, buffers: dict[str, Tensor]) -> Any:
        """Return what was packed, its tensors read from the bytes."""

        def unpack(value: Any) -> Any:
            if isinstance(value, _Place):
                return value.read(buffers)
            if isinstance(value, _Dual):
                return forward_ad.make_dual(unpack(value.value), unpack(value.tangent))  # type: ignore[no-untyped-call]
            return type(value)(map(unpack, value)) if isinstance(value, tuple | list) else value

        return unpack(self.packed)


class _Parcel:
    """Nested tuples and lists of tensors and plain values, ready to be sent."""

    def __init__(self) -> None:
        self._tensors: dict[str, list[Tensor]] = {}
        self._sizes: dict[str, int] = {}
        self.content: _Content = _Content(None, self._sizes)

    @classmethod
    def of(cls, found: Any) -> _Parcel:
        parcel = cls()
        parcel.content = _Content(parcel._packed(found), parcel._sizes)
        return parcel

    def bytes_by_kind(self) -> dict[str, Tensor]:
        """Return the tensors' bytes, by kind of device; of one kind in the same order in all processes."""
        return {kind: torch.cat([_padded(each) for each in self._tensors[kind]]) for kind in sorted(self._tensors)}

    def _packed(self, value: Any) -> Any:
        if isinstance(value, tuple | list):
            return type(value)(map(self._packed, value))
        if not isinstance(value, Tensor):
            return value
        primal, tangent = forward_ad.unpack_dual(value)  # type: ignore[no-untyped-call]
        if tangent is not None:
            return _Dual(self._placed(primal), self._placed(tangent))
        return self._placed(value)

    def _placed(self, tensor: Tensor) -> _Place:
        tensor, kind = tensor.detach().contiguous(), tensor.device.type
        place = _Place(kind, self._sizes.get(kind, 0), tuple(tensor.shape), tensor.dtype)
        self._tensors.setdefault(kind, []).append(tensor)
        self._sizes[kind] = -(-place.stop // ALIGNED) * ALIGNED
        return place


def _padded(tensor: Tensor) -> Tensor:
    """Return a tensor's bytes, up to a multiple of `ALIGNED`."""
    plain = tensor.reshape(-1).view(torch.uint8)
    return torch.nn.functional.pad(plain, (0, -len(plain) % ALIGNED))


class _Rejoined(torch.autograd.Function):
    """The results of all shares, whose gradient goes back into this process's own."""

    @staticmethod
    def forward(context: Any, found: Tensor, team: Team, count: int, error: BaseException | None) -> Tensor:
        context.share = team._share(count)
        parcel = _Parcel.of(found)
        said = team._agreed(_Said(f"rejoining {count}", parcel.content, error, team._number()))
        team._count([each.counted for each in said])
        return torch.cat(team._received(parcel, [each.content for each in said]))

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Any:
        return gradients[0][context.share], None, None, None


class _GradientOfAll(torch.autograd.Function):
    """Parameters, whose gradients in all processes are added up."""

    @staticmethod
    def forward(context: Any, parameters: Tensor, team: Team) -> Tensor:
        context.team = team
        return parameters.view_as(parameters)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Any:
        return context.team.total(gradients[0]), None


_alone = Team()
_team = _alone


def team() -> Team:
    """Return the team that this process works in."""
    return _team


@contextmanager
def by_itself() -> Iterator[None]:
    """Let this process work without its team in the block, as where it measures how fast it is."""
    global _team  # noqa: PLW0603 (as torch's own process group, of which there is one)
    before, _team = _team, _alone
    try:
        yield
    finally:
        _team = before


@contextmanager
def joined(rank: int, size: int, backend: str) -> Iterator[Team]:
    """Work in a team while the block runs, which meets where torch's environment variables say.

    Args:
        rank: Of this process.
        size: Of the team.
        backend: How tensors are exchanged, such as "gloo" or "cpu:gloo,cuda:nccl".

    Raises:
        BnsbenchError: Whatever another process has raised, of any type; TeamError if one has gone.
    """
    global _team  # noqa: PLW0603 (as torch's own process group, of which there is one)
    with _reachable(size):
        torch.distributed.init_process_group(backend, rank=rank, world_size=size, timeout=PATIENCE)
    _team = Team(rank, size)
    try:
        yield _team
        _team.farewell(None)
    except Exception as error:
        # The others wait for this process at their next exchange; a fault that came from there is known to all.
        if not getattr(error, _TOLD, False):
            _tell(error)
        raise
    finally:
        _team = _alone
        torch.distributed.destroy_process_group()


def _told(error: BaseException) -> BaseException:
    setattr(error, _TOLD, True)
    return error


def _tell(error: Exception) -> None:
    # In answer comes its own fault, or that of another, or nobody is left to be told.
    with suppress(Exception):
        _team.farewell(error)


def _attempted(do: Callable[[], _T]) -> tuple[_T | None, Exception | None]:
    """Return what is given, or what has been raised."""
    try:
        return do(), None
    except Exception as error:  # noqa: BLE001 (of whatever type: all processes raise it)
        return None, error


@contextmanager
def _reachable(size: int) -> Iterator[None]:
    """Say that a process has gone where torch says that its connection was lost."""
    try:
        yield
    except RuntimeError as error:
        gone = f"One of the {size} processes that train together has gone, or cannot be reached: {one_line(error)[:200]}."
        raise _told(TeamError(gone)) from error
