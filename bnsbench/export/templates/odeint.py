"""ABOUT."""

import sys

import torch

# numbers
NFE = 1
INTERVAL = [0.0, 1.0]
TIMES = [0.0]
A = [1.0]
B = [[1.0]]
# end of numbers


def sample(velocity, x0):
    """Return the end states for initial states x0 [batch, ...]; ``velocity(t, x)`` with t a 0-d tensor, guidance inside."""
    x, seen = x0, []
    for time, a, row in zip(TIMES, A, B):
        seen.append(velocity(torch.as_tensor(time, dtype=x0.dtype, device=x0.device), x))
        x = a * x0 + sum(coefficient * each for coefficient, each in zip(row, seen))
    return x


def odeint(func, y0, t, **options):
    """Return [y0, end state], stacked, in the place of ``torchdiffeq.odeint(func, y0, t, ...)``.

    Raises:
        ValueError: For other times than the two ends of INTERVAL.
    """
    del options  # rtol, atol, method: the table is what it is
    ends = [float(each) for each in t]
    if len(ends) != 2 or max(abs(ends[0] - INTERVAL[0]), abs(ends[1] - INTERVAL[1])) > 1e-3:
        raise ValueError(
            f"This solver goes from {INTERVAL[0]:g} to {INTERVAL[1]:g} in {NFE} evaluations and knows no state between, so"
            f" that its times are these two, not {ends}."
        )
    return torch.stack([y0, sample(func, y0)])


def register(name):
    """Let torchdiffeq know this solver as ``method=name``, for libraries that pass a method on.

    It goes into a table of methods that torchdiffeq keeps to itself.
    """
    import torchdiffeq
    from torchdiffeq._impl.solvers import FixedGridODESolver

    def integrate(self, t):
        if INTERVAL[0] > INTERVAL[1]:  # torchdiffeq has turned a falling time around
            return odeint(lambda s, x: -self.func(-s, x), self.y0, -t)
        return odeint(self.func, self.y0, t)

    methods = {"order": 1, "integrate": integrate, "_step_func": lambda self, *states: None}
    solvers = sys.modules[torchdiffeq.odeint.__module__].SOLVERS
    solvers[name] = type(name, (FixedGridODESolver,), methods)
