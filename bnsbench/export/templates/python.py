"""ABOUT."""

# numbers
NFE = 1
INTERVAL = [0.0, 1.0]
TIMES = [0.0]
A = [1.0]
B = [[1.0]]
# end of numbers


def sample(velocity, x0, steps=NFE):
    """Return the end states for initial states.

    Args:
        velocity: Of the states x at the time t: ``velocity(t, x)`` with t a float, guidance inside.
        x0: Noise; anything that can be added, and multiplied by a number from the left: an array of NumPy or JAX, a tensor,
            a float.
        steps: The evaluations, NFE.

    Raises:
        ValueError: For another number of steps.
    """
    if steps != NFE:
        raise ValueError(f"This solver takes exactly {NFE} steps, not {steps}: its table is for no other number.")
    x, seen = x0, []
    for time, a, row in zip(TIMES, A, B):
        seen.append(velocity(time, x))
        x = a * x0
        for b, u in zip(row, seen):
            x = x + b * u
    return x
