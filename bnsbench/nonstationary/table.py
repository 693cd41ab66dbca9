"""The non-stationary solver: a table of times and coefficients, which is all that a sampler of fixed NFE consists of."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bnsbench.errors import CorruptFileError, UsageError
from bnsbench.flows.fields import VelocityField
from bnsbench.nonstationary.engine import sample


@dataclass(frozen=True, eq=False)
class NonStationarySolver:
    """The solver x_{i+1} = a_i x_0 + sum_{j<=i} b_ij u_{t_j}(x_j), i = 0..n-1, with n = NFE (Shaul et al. 2024, Eq. 11).

    The numbers are copied to the CPU in float64 and checked. Training, which needs gradients with respect to them, uses
    `from_rows` instead.

    Args:
        times: float64 [n + 1]; times[:n] are where the field is evaluated, times[n] is where the last state lies. They
            stay within [times[0], times[n]], but may repeat or go back.
        a: float64 [n], the weights of x_0.
        b: float64 [n, n], lower triangular, the weights of the velocities.

    Raises:
        UsageError: If the numbers are no such table.
    """

    times: Tensor
    a: Tensor
    b: Tensor

    def __post_init__(self) -> None:
        for name in ("times", "a", "b"):
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
        if not all(bool(tensor.isfinite().all()) for tensor in (self.times, self.a, self.b)):
            return "some are not finite"
        if bool(self.b.triu(1).any()):
            return "b is not lower triangular, so a state would need velocities that come later"
        if bool((self.times < self.times[0]).any() | (self.times > self.times[-1]).any()):
            return "a time lies outside the interval from the first to the last"
        return None

    @property
    def nfe(self) -> int:
        """The number of evaluations of the field."""
        return self.a.numel()

    @property
    def rows(self) -> Tensor:
        """The coefficients together, [n, n + 1]: row i is (a_i, b_i0, .., b_ii, 0, ..)."""
        return torch.cat([self.a[:, None], self.b], dim=1)

    @classmethod
    def from_rows(cls, times: Tensor, rows: Tensor) -> NonStationarySolver:
        """Return the table of float64 times [n + 1] and rows [n, n + 1] as they are: not copied, not checked.

        Autograd follows them, and they may be NaN where a family has no table.
        """
        table = object.__new__(cls)
        for name, value in (("times", times), ("a", rows[:, 0]), ("b", rows[:, 1:])):
            object.__setattr__(table, name, value)
        return table

    def validated(self) -> NonStationarySolver:
        """Return a checked copy, which autograd does not follow; UsageError if the numbers are no table."""
        return NonStationarySolver(self.times, self.a, self.b)

    def with_row(self, i: int, row: Tensor) -> NonStationarySolver:
        """Return the table with row i replaced by ``row`` [i + 2]; not checked."""
        rows = self.rows.clone()
        rows[i, : i + 2] = row
        return NonStationarySolver.from_rows(self.times, rows)

    def with_open_gaps(self, smallest: float = 1e-4) -> NonStationarySolver:
        """Return the table with repeated times opened, so that they increase; not checked.

        Gaps below ``smallest`` of the interval become as long, and then all are scaled to fill it.
        """
        # Gaps g_i as shares of T, none below the smallest, and then t_i = t_0 + T sum_{k<=i} g_k / sum g.
        span = self.times[-1] - self.times[0]
        gaps = (self.times.diff() / span).clamp_min(smallest)
        reached = self.times[0] + span * torch.cumsum(gaps / gaps.sum(), 0)[:-1]
        return NonStationarySolver.from_rows(torch.cat([self.times[:1], reached, self.times[-1:]]), self.rows)

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
        before = rows[i - 1] if i > 0 else torch.eye(self.nfe + 1, dtype=rows.dtype)[0]
        rows = torch.cat([rows[:i], 0.5 * (before + rows[i])[None], rows[i:]])
        rows = torch.cat([rows[:, : i + 2], rows.new_zeros(self.nfe + 1, 1), rows[:, i + 2 :]], dim=1)
        middle = 0.5 * (self.times[i] + self.times[i + 1])
        return NonStationarySolver.from_rows(torch.cat([self.times[: i + 1], middle[None], self.times[i + 1 :]]), rows)

    def __call__(self, field: VelocityField, x0: Tensor) -> Tensor:
        """Return the last state for initial states x0 [batch, ...]."""
        return sample(self.times, self.rows, field, x0)

    def fingerprint(self) -> str:
        """Return a hexadecimal hash of the numbers."""
        digest = hashlib.sha256()
        for tensor in (self.times, self.a, self.b):
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return the table as JSON-like numbers, b row by row up to its diagonal; they convert back exactly."""
        rows = [row[: i + 1].tolist() for i, row in enumerate(self.b)]
        return {"times": self.times.tolist(), "a": self.a.tolist(), "b": rows}

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> NonStationarySolver:
        """Return the table that ``to_dict`` described; CorruptFileError if it describes none."""
        try:
            times = torch.tensor(description["times"], dtype=torch.float64)
            a = torch.tensor(description["a"], dtype=torch.float64)
            rows = [torch.tensor(row, dtype=torch.float64) for row in description["b"]]
            # The file has row i up to its diagonal; beyond it are zeros.
            b = torch.stack([torch.cat([row, row.new_zeros(len(rows) - len(row))]) for row in rows])
            return cls(times, a, b)
        except (KeyError, TypeError, ValueError, RuntimeError, UsageError) as error:
            raise CorruptFileError(f"This is no description of a non-stationary solver: {error}") from error


def free_entries(n: int) -> tuple[Tensor, Tensor]:
    """Return the row and column indices of the entries of rows [n, n + 1] that may be other than 0, row by row."""
    index = torch.tril_indices(n, n + 1, offset=1)
    return index[0], index[1]


def canonical(c: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """Return (a [n], b [n, n]) of the solver x_{i+1} = sum_{j<=i} c_ij x_j + d_ij u_j with lower-triangular c, d [n, n].

    Eq. 10 to Eq. 11 of Shaul et al. 2024 (their Proposition 3.1); differentiable in c and d.
    """
    # Let r_i = (a_i, b_i) be the coefficients of x_{i+1} in x_0, u_0, u_1, ... State j > 0 has those of r_{j-1}, so that the
    # recursion is r_i - sum_{0<j<=i} c_ij r_{j-1} = (c_i0, d_i): lower triangular with ones on its diagonal.
    n = len(c)
    history = torch.cat([c[:, 1:], c.new_zeros(n, 1)], dim=1)
    right = torch.cat([c[:, :1], d], dim=1)
    rows = torch.linalg.solve_triangular(torch.eye(n, dtype=c.dtype, device=c.device) - history, right, upper=False)
    return rows[:, 0], rows[:, 1:]
