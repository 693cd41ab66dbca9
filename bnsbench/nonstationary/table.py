"""The non-stationary solver: a table of times and coefficients, which is all that a sampler of fixed NFE consists of.

Under guidance a network answers twice per evaluation, u_cond with the condition and u_uncond without it, and the field mixes
the answers: u_w = (1 + w) u_cond - w u_uncond. A table may weigh them apart instead (its columns are then *split*),

    x_{i+1} = a_i x_0 + sum_{j<=i} b_ij u_cond,j + c_ij u_uncond,j,

at the same forwards of the network. Every table of velocities is one of these: it has b (1 + w) and -b w.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bnsbench.errors import CorruptFileError, UsageError, one_line
from bnsbench.flows.fields import VelocityField
from bnsbench.nonstationary.compiled import CompiledSampler, How, compiled
from bnsbench.nonstationary.engine import sample


@dataclass(frozen=True, eq=False)
class NonStationarySolver:
    """The solver x_{i+1} = a_i x_0 + sum_{j<=i} b_ij u_{t_j}(x_j), i = 0..n-1, with n = NFE (Shaul et al. 2024, Eq. 11).

    With c, the columns are split: b weighs the answers with the condition, and c those without it.

    The numbers are copied to the CPU in float64 and checked. Training, which needs gradients with respect to them, uses
    `from_rows` instead.

    Args:
        times: float64 [n + 1]; times[:n] are where the field is evaluated, times[n] is where the last state lies. They
            stay within [times[0], times[n]], but may repeat or go back.
        a: float64 [n], the weights of x_0.
        b: float64 [n, n], lower triangular, the weights of the velocities.
        c: Like b, the weights of the answers without a condition; None for a table that weighs velocities.
        guidance: The scale w for which a table with c was made, since the answers do not say it; None without c.

    Raises:
        UsageError: If the numbers are no such table.
    """

    times: Tensor
    a: Tensor
    b: Tensor
    c: Tensor | None = field(default=None, kw_only=True)
    guidance: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("times", "a", "b", *(() if self.c is None else ("c",))):
            object.__setattr__(self, name, getattr(self, name).detach().to("cpu", torch.float64, copy=True))
        fault = self._fault()
        if fault is not None:
            raise UsageError(f"These numbers are no non-stationary solver: {fault}.")

    def _fault(self) -> str | None:
        n = self.a.numel()
        if n == 0:
            return "it has no evaluation"
        if self.times.shape != (n + 1,) or self.a.shape != (n,) or self.b.shape != (n, n):
            shapes = [list(tensor.shape) for tensor in (self.times, self.a, self.b)]
            return f"times, a and b must be shaped [n + 1], [n] and [n, n], not {', '.join(map(str, shapes))}"
        return self._fault_of_split() or self._fault_of_numbers()

    def _fault_of_split(self) -> str | None:
        if (self.c is None) != (self.guidance is None):
            return "c and guidance go together: c weighs the answers without a condition under a guidance scale"
        if self.c is not None and self.c.shape != self.b.shape:
            return f"c must be shaped [n, n] as b, not {list(self.c.shape)}"
        if self.guidance is not None and (not math.isfinite(self.guidance) or self.guidance == 0):
            return f"guidance {self.guidance:g} leaves no two answers to weigh"
        return None

    def _fault_of_numbers(self) -> str | None:
        weights = [each for each in (self.b, self.c) if each is not None]
        if not all(bool(numbers.isfinite().all()) for numbers in (self.times, self.a, *weights)):
            return "some are not finite"
        # Row by row, for a table of a file is read in little more memory than it takes.
        if any(bool(row[i + 1 :].any()) for each in weights for i, row in enumerate(each)):
            return "b is not lower triangular, so a state would need velocities that come later"
        if bool((self.times < self.times[0]).any() | (self.times > self.times[-1]).any()):
            return "a time lies outside the interval from the first to the last"
        return None

    @property
    def nfe(self) -> int:
        """The number of evaluations of the field."""
        return self.a.numel()

    @property
    def columns(self) -> int:
        """How many numbers of a row weigh one evaluation: 1, or 2 if it weighs both answers of a guided network."""
        return 1 if self.c is None else 2

    @property
    def rows(self) -> Tensor:
        """The coefficients together, [n, 1 + n columns]: row i is (a_i, b_i0, .., b_ii, 0, ..).

        Of split columns it is (a_i, b_i0, c_i0, b_i1, c_i1, .., b_ii, c_ii, 0, ..).
        """
        weights = self.b if self.c is None else torch.stack([self.b, self.c], dim=2).flatten(1)
        return torch.cat([self.a[:, None], weights], dim=1)

    @property
    def of_equal_answers(self) -> Tensor:
        """The weights of velocities [n, n] where a network answers the same with a condition and without: b, or b + c."""
        return self.b if self.c is None else self.b + self.c

    @classmethod
    def from_rows(cls, times: Tensor, rows: Tensor, guidance: float | None = None) -> NonStationarySolver:
        """Return the table of float64 times [n + 1] and `rows` [n, 1 + n columns] as they are: not copied, not checked.

        Autograd follows them, and they may be NaN where a family has no table.

        Args:
            times: When it evaluates.
            rows: Of two columns if there is a guidance, else of one.
            guidance: As of the table.
        """
        table, columns = object.__new__(cls), 1 if guidance is None else 2
        b, c = rows[:, 1::columns], None if guidance is None else rows[:, 2::2]
        for name, value in (("times", times), ("a", rows[:, 0]), ("b", b), ("c", c), ("guidance", guidance)):
            object.__setattr__(table, name, value)
        return table

    def in_outputs(self, beta: Tensor, gamma: Tensor) -> Tensor:
        """Return float64 rows [n, n + 1] with x_{i+1} = row i . (x_0, f_0, ..., f_{n-1}) for the outputs f_j of a network.

        Inserting u_j = beta_j x_j + gamma_j f_j, state by state; for a table of one column.

        Args:
            beta: Of the states, float64 [n].
            gamma: Of the outputs, float64 [n].
        """
        n = self.nfe
        states = torch.zeros(n + 1, n + 1, dtype=torch.float64)
        states[0, 0] = 1.0
        outputs = torch.eye(n + 1, dtype=torch.float64)[1:]
        for i in range(n):
            velocities = beta[: i + 1, None] * states[: i + 1] + gamma[: i + 1, None] * outputs[: i + 1]
            states[i + 1] = self.b[i, : i + 1] @ velocities
            states[i + 1, 0] += self.a[i]
        return states[1:]

    def split(self, guidance: float) -> NonStationarySolver:
        """Return the same solver with its columns split: b (1 + w) and -b w weigh the answers that make u_w; not checked.

        Args:
            guidance: The scale w.

        Raises:
            UsageError: If its columns are split already, or w is 0, which leaves one answer.
        """
        if self.guidance is not None:
            raise UsageError(f"The table's columns are split already, for guidance {self.guidance:g}.")
        if guidance == 0:
            raise UsageError("Without guidance a network answers once, so there are no columns to split.")
        weights = torch.stack([(1.0 + guidance) * self.b, -guidance * self.b], dim=2).flatten(1)
        return NonStationarySolver.from_rows(self.times, torch.cat([self.a[:, None], weights], dim=1), guidance)

    def validated(self) -> NonStationarySolver:
        """Return a checked copy, which autograd does not follow; UsageError if the numbers are no table."""
        return NonStationarySolver(self.times, self.a, self.b, c=self.c, guidance=self.guidance)

    def with_row(self, i: int, row: Tensor) -> NonStationarySolver:
        """Return the table with row i replaced by ``row`` [1 + (i + 1) columns]; not checked."""
        rows = self.rows.clone()
        rows[i, : 1 + (i + 1) * self.columns] = row
        return self._with(self.times, rows)

    def _with(self, times: Tensor, rows: Tensor) -> NonStationarySolver:
        """Return a table of the same kind with other numbers; not checked."""
        return NonStationarySolver.from_rows(times, rows, self.guidance)

    def with_open_gaps(self, smallest: float = 1e-4) -> NonStationarySolver:
        """Return the table with repeated times opened, so that they increase; not checked.

        Gaps below ``smallest`` of the interval become as long, and then all are scaled to fill it.
        """
        # Gaps g_i as shares of T, none below the smallest, and then t_i = t_0 + T sum_{k<=i} g_k / sum g.
        span = self.times[-1] - self.times[0]
        gaps = (self.times.diff() / span).clamp_min(smallest)
        reached = self.times[0] + span * torch.cumsum(gaps / gaps.sum(), 0)[:-1]
        return self._with(torch.cat([self.times[:1], reached, self.times[-1:]]), self.rows)

    def with_idle(self, n: int) -> NonStationarySolver:
        """Return the table of ``n`` evaluations that ends where this one does; not checked.

        Those that are added lie in the middle of the widest gaps, at states halfway between their neighbours, and nothing
        weighs their velocities.
        """
        table = self
        while table.nfe < n:
            table = table._with_one_idle()
        return table

    def _with_one_idle(self) -> NonStationarySolver:
        i = int(self.times.diff().argmax())
        # x_new = (x_i + x_{i+1}) / 2, after which every row has a zero for u_new.
        rows = self.rows
        before = rows[i - 1] if i > 0 else torch.eye(rows.shape[1], dtype=rows.dtype)[0]
        rows = torch.cat([rows[:i], 0.5 * (before + rows[i])[None], rows[i:]])
        seen = 1 + (i + 1) * self.columns
        rows = torch.cat([rows[:, :seen], rows.new_zeros(self.nfe + 1, self.columns), rows[:, seen:]], dim=1)
        middle = 0.5 * (self.times[i] + self.times[i + 1])
        return self._with(torch.cat([self.times[: i + 1], middle[None], self.times[i + 1 :]]), rows)

    def __call__(self, field: VelocityField, x0: Tensor) -> Tensor:
        """Return the last state for initial states x0 [batch, ...].

        Raises:
            UsageError: If what the field returns is not shaped like x0.
            NotApplicableError: If the table's columns are split, and the field not under its guidance.
        """
        return sample(self.times, self.rows, field, x0, self.guidance)

    def compiled(self, field: VelocityField, x0: Tensor, how: How = "auto", *, strict: bool = False) -> CompiledSampler:
        """Return this table with a field, compiled for states like x0: a function of initial states of that shape alone.

        It is made by sampling x0 once, and its samples are compared with those of the table. What the field is bound to
        (conditions, guidance) stays; new conditions may be written into the tensors of the old ones.

        Args:
            field: The velocity field.
            x0: Initial states [batch, ...], of the shape, precision and device of all that will come.
            how: "network" compiles the field by torch.compile and calls it n times; "sampler" compiles all n steps as one
                function, which takes n times as long to compile; "graph" captures all n steps in a CUDA graph, which
                launches them at once. "auto" is "graph" on CUDA and "network" elsewhere.
            strict: Whether to refuse a field that cannot be compiled or whose samples come out otherwise; if not, that is a
                warning, and the table runs as it always does.

        Raises:
            UsageError: For another ``how``, or a graph of states that do not lie on a CUDA device.
            NotApplicableError: If strict, for a field that cannot be compiled.
        """
        return compiled((self.times, self.rows, self.guidance), field, x0, how, strict=strict)

    def fingerprint(self) -> str:
        """Return a hexadecimal hash of the numbers."""
        digest, split = (
            hashlib.sha256(),
            () if self.c is None else (self.c, torch.tensor(self.guidance, dtype=torch.float64)),
        )
        for tensor in (self.times, self.a, self.b, *split):
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return the table as JSON-like numbers, b and c row by row up to their diagonals; they convert back exactly."""
        numbers = {"times": self.times.tolist(), "a": self.a.tolist(), "b": _up_to_diagonal(self.b)}
        return numbers if self.c is None else {**numbers, "c": _up_to_diagonal(self.c), "guidance": self.guidance}

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> NonStationarySolver:
        """Return the table that ``to_dict`` described; CorruptFileError if it describes none."""
        try:
            table = object.__new__(cls)
            for name, value in _read(description).items():
                object.__setattr__(table, name, value)
            fault = table._fault()
        except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError, RuntimeError) as error:
            raise CorruptFileError(f"This is no description of a non-stationary solver: {one_line(error)}.") from error
        if fault is not None:
            raise CorruptFileError(f"This is no description of a non-stationary solver: {fault}.")
        return table


def _up_to_diagonal(weights: Tensor) -> list[list[float]]:
    """Return the rows of a lower-triangular matrix [n, n] without what is 0 beyond its diagonal."""
    return [row[: i + 1].tolist() for i, row in enumerate(weights)]


def _read(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers that ``to_dict`` gave; ValueError and the like if they are others.

    All lengths are compared before a matrix is made, so that its memory is in proportion to the description.
    """
    a, (c, guidance) = description["a"], (description.get(name) for name in ("c", "guidance"))
    _require_length("a", a, len(a))
    n = len(a)
    _require_length("times", description["times"], n + 1)
    return {
        "times": _vector(description["times"]),
        "a": _vector(a),
        "b": _square("b", description["b"], n),
        "c": None if c is None else _square("c", c, n),
        "guidance": None if guidance is None else float(guidance),
    }


def _square(name: str, rows: Any, n: int) -> Tensor:
    """Return the matrix [n, n] whose rows `_up_to_diagonal` gave, or gives in full."""
    _require_length(name, rows, n)
    for i, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != n:
            _require_length(f"row {i} of {name}", row, i + 1)
    numbers = torch.zeros(n, n, dtype=torch.float64)
    for i, row in enumerate(rows):
        numbers[i, : len(row)] = _vector(row)
    return numbers


def _require_length(name: str, numbers: Any, length: int) -> None:
    if not isinstance(numbers, list) or len(numbers) != length:
        raise ValueError(f"{name} is no list of {length} numbers")


def _vector(numbers: list[Any]) -> Tensor:
    if not set(map(type, numbers)) <= {int, float}:
        raise TypeError("some entries are no numbers")
    return torch.tensor(list(map(float, numbers)), dtype=torch.float64)


def free_entries(n: int, columns: int = 1) -> tuple[Tensor, Tensor]:
    """Return the row and column indices of the entries of rows [n, 1 + n columns] that may be other than 0, row by row."""
    reached = 1 + columns * torch.arange(1, n + 1)  # the first entries of a row that it may have: x_0, u_0 .. u_i
    row, column = torch.nonzero(torch.arange(1 + n * columns) < reached[:, None], as_tuple=True)
    return row, column


def canonical(c: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """Return (a [n], b) of the solver x_{i+1} = sum_{j<=i} c_ij x_j + d_ij u_j with lower-triangular c [n, n], and d like b.

    Eq. 10 to Eq. 11 of Shaul et al. 2024 (their Proposition 3.1); differentiable in c and d.

    Args:
        c: The weights of the states.
        d: [n, n columns], those of the velocities, or of both answers of each evaluation beside each other.
    """
    # Let r_i = (a_i, b_i) be the coefficients of x_{i+1} in x_0, u_0, u_1, ... State j > 0 has those of r_{j-1}, so that the
    # recursion is r_i - sum_{0<j<=i} c_ij r_{j-1} = (c_i0, d_i): lower triangular with ones on its diagonal.
    n = len(c)
    history = torch.cat([c[:, 1:], c.new_zeros(n, 1)], dim=1)
    right = torch.cat([c[:, :1], d], dim=1)
    rows = torch.linalg.solve_triangular(torch.eye(n, dtype=c.dtype, device=c.device) - history, right, upper=False)
    return rows[:, 0], rows[:, 1:]
