"""ABOUT."""

# numbers
NFE = 1
FLOW = True
SIGMAS = [1.0, 0.0]
TIMES = [0.0]
TIMESTEPS = None
ROWS = [[0.0, 1.0]]
# end of numbers


def sample(model, x, sigmas=None, extra_args=None, callback=None, disable=None):
    """Return the end states for initial ones, as samplers of k-diffusion do.

    Args:
        model: The denoiser, ``model(x, sigma, **extra_args)`` with sigma [batch], guidance inside.
        x: Noise times SIGMAS[0], [batch, ...].
        sigmas: Of any schedule with as many steps that begins at pure noise; the solver has its own, SIGMAS.
        extra_args: Passed to the model.
        callback: Called after every evaluation with the keys x, i, sigma, sigma_hat and denoised.
        disable: Of a progress bar; there is none here.

    Raises:
        ValueError: For another number of steps, or a start that is no pure noise.
    """
    check(sigmas)
    seen = [x]  # the initial state and all denoised ones
    for i, row in enumerate(ROWS):
        denoised = model(x, x.new_full([len(x)], SIGMAS[i]), **(extra_args or {}))
        seen.append(denoised)
        if callback is not None:
            callback({"x": x, "i": i, "sigma": SIGMAS[i], "sigma_hat": SIGMAS[i], "denoised": denoised})
        x = sum(coefficient * each for coefficient, each in zip(row, seen))
    return x


def check(sigmas):
    """Raise ValueError for a schedule that this solver cannot stand in for."""
    if sigmas is None:
        return
    if len(sigmas) != NFE + 1:
        raise ValueError(f"This solver takes exactly {NFE} steps, not {len(sigmas) - 1}: its table is for no other number.")
    if abs(float(sigmas[0]) / SIGMAS[0] - 1) > 0.05:
        raise ValueError(
            f"This solver begins at pure noise, sigma = {SIGMAS[0]:.6g}, not at {float(sigmas[0]):.6g}: it makes no image"
            " from another one, fills no gap and refines nothing, and needs a model with this range of noise."
        )
