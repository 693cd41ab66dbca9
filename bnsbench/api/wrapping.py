"""Any network as a model: `wrap` tells bnsbench how to call it, on which path it was trained, and what samples look like."""

from __future__ import annotations

import logging
import time as clocks
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bnsbench.api.calling import Calling, Network
from bnsbench.api.captured import Captured
from bnsbench.api.wrapped import Conditions, Encode, Lexicon, WrappedModel
from bnsbench.errors import UsageError, with_place
from bnsbench.flows.features import SampleFeatures
from bnsbench.flows.interval import usual_interval
from bnsbench.flows.model import Model
from bnsbench.flows.paths import EDM, DiscreteVP, Path, make_path
from bnsbench.flows.sampled_path import Coefficient, as_path
from bnsbench.truth.noise import stream_seed
from bnsbench.truth.wiring import EVALUATIONS, count_of, told_once

_log = logging.getLogger(__name__)

TRIED = 2
"""Samples on which a network is tried when it is wrapped."""
PATIENCE = 3.0
"""Seconds that looking at its predictions may take then; `train` and `run` look at slower networks."""
ROUNDING = 1e-3
"""Difference of two answers to one question, relative to the largest number, that counts as rounding."""


def wrap(
    velocity: Network | None = None,
    *,
    denoiser: Network | None = None,
    epsilon: Network | None = None,
    v: Network | None = None,
    x: Network | None = None,
    shape: tuple[int, ...],
    path: str | Path | tuple[Coefficient, Coefficient] | Callable[..., Any] | None = None,
    time: Literal["0 to 1", "1 to 0"] = "0 to 1",
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    betas: Sequence[float] | Tensor | None = None,
    alphas_cumprod: Sequence[float] | Tensor | None = None,
    interval: tuple[float, float] | None = None,
    jumps: Sequence[float] = (),
    conditions: Tensor | Callable[[Tensor], Tensor] | int | None = None,
    null_condition: Tensor | Callable[[Tensor], Tensor] | int | None = None,
    texts: Sequence[str] = (),
    encode: Encode | None = None,
    decode: Callable[[Tensor], Tensor] | None = None,
    features: SampleFeatures | None = None,
    data_range: float = 2.0,
    sample_rate: int | None = None,
    network: nn.Module | None = None,
    fingerprint: str | None = None,
    name: str = "",
    check: bool = True,
) -> Model:
    """Return a network of your own as a model that `train`, `tune`, `sample` and `compare` take.

    One of the first five arguments says what the network predicts, and by that how it is called: a module, or a function
    around one in any other order. The condition comes as a third argument if there are conditions.

    | argument | it returns | it is called as |
    |---|---|---|
    | ``velocity`` | dx/dt | ``velocity(t, x)`` |
    | ``denoiser`` | the data, as networks of EDM and k-diffusion do | ``denoiser(x, sigma)`` |
    | ``epsilon`` | the noise | ``epsilon(x, timestep)`` |
    | ``v`` | alpha noise - sigma data | ``v(x, timestep)`` |
    | ``x`` | the data | ``x(x, timestep)`` |

    Time runs from noise at t = 0 to data at t = 1 unless ``time`` says "1 to 0". A ``denoiser`` gets states data + sigma
    noise. With ``betas`` or ``alphas_cumprod`` the last three are told (fractional) timesteps, from T - 1 for noise to 0;
    without them they need a ``path`` and are told t.

    The network is tried at once, on two samples; and if that is quick, a few evaluations tell whether its predictions behave
    like those of its path, which is logged if they do not (`train` and `run` tell it as well).

    What is computed about a model (its ground truth above all) is kept under its fingerprint: by default a hash of weights,
    of the code of functions and of what they compute with, of path, interval, shape and conditions. Of a function that uses
    objects of other classes nothing is kept, unless you give a ``fingerprint``.

    Args:
        velocity: Returns u_t(x) [batch, *shape] = dx/dt for t [batch] and x [batch, *shape], both in its own precision.
        denoiser: Returns D(x; sigma) [batch, *shape] for x and the standard deviation of its noise [batch].
        epsilon: Returns the noise in x.
        v: Returns v.
        x: Returns the data in x.
        shape: Of one sample, such as (3, 32, 32).
        path: On which it was trained: "condot" (x_t = (1 - t) x_0 + t x_1, the default of a velocity), "cosine", "vp", one
            of `bnsbench.paths`, two functions (alpha, sigma) of time, or a scheduler of flow_matching.
        time: In which direction the network counts time, from noise to data or from data to noise.
        sigma_min: Of a denoiser without a path: the noise at which sampling ends.
        sigma_max: Likewise: the noise at which it begins.
        betas: The noise rates of a DDPM schedule, [T], of timesteps 0 (data) to T - 1.
        alphas_cumprod: Their cumulative products of 1 - beta, [T], in place of betas.
        interval: The times (t_begin, t_end) on which it may be evaluated, with noise at 0 whatever ``time`` says; if not
            given, [0, 1] without ends at which the path stands still or sigma's slope is infinite.
        jumps: Times inside of the interval at which its velocity jumps, as where one network takes over from another.
        conditions: Of the samples: a tensor [n, ...] of which sample i takes row i modulo n (labels, embeddings,
            observations), a function from sample numbers [count] to conditions [count, ...], or a number of classes; None
            for an unconditional network.
        null_condition: What stands for "no condition", which guidance needs: a tensor [...], the number of a class, or a
            function from conditions to as many null conditions.
        texts: Of which sample i takes text i modulo n, in place of conditions; no condition is the empty text.
        encode: From a list of texts to what the network is told, [texts, ...]; it is called once.
        decode: From end states to what one looks at, such as images in [-1, 1]; None for the states themselves.
        features: An extractor that knows its samples, for distances of distributions and perceptual objectives.
        data_range: Peak-to-peak range of the data, which PSNR is relative to.
        sample_rate: Of samples that are sound, in Hz.
        network: The module behind a function, where it is not found in it: it says where it lies, in which precision, and
            what its weights are.
        fingerprint: Names everything that decides what the network returns, in place of weights and code.
        name: Of its noise streams and in files; the class of the network if empty.
        check: Whether the network is tried now.

    Returns:
        The model.

    Raises:
        UsageError: For anything that does not go together; for a network in training mode, one that raises when it is
            tried, returns something of another shape or precision, or another answer to the same question.
    """
    asked = {"velocity": velocity, "denoiser": denoiser, "epsilon": epsilon, "v": v, "x": x}
    kind, function = _only(asked)
    captured = None if isinstance(function, nn.Module) else Captured(function)
    module = _module_of(function, network, captured)
    if captured is not None and network is not None:  # which is said to be all that counts
        captured.unknown = ""
    if module is not None and module.training:
        raise UsageError("The network is in training mode, in which it may drop out or learn: call its eval() first.")
    if not isinstance(shape, tuple | list | torch.Size) or not all(isinstance(size, int) and size > 0 for size in shape):
        raise UsageError(f"The shape of a sample is a tuple of whole numbers such as (3, 32, 32), not {shape!r}.")
    calling, settled = _settle(kind, path, time, (sigma_min, sigma_max), _schedule(betas, alphas_cumprod))
    begin, end = map(float, interval or usual_interval(settled))
    if not all(begin < t < end for t in jumps):
        raise UsageError(f"Jumps lie inside of the interval ({begin:g}, {end:g}), so not at {list(jumps)}.")
    model = WrappedModel(
        network=function,
        module=module,
        captured=captured,
        calling=calling,
        path=settled,
        shape=tuple(shape),
        interval=(begin, end),
        jumps=tuple(sorted(map(float, jumps))),
        conditions=_conditions(conditions, null_condition, texts, encode),
        decode=decode,
        features=features,
        data_range=float(data_range),
        sample_rate=sample_rate,
        fingerprint=fingerprint,
        name=name or type(function if module is None else module).__name__.lower(),
    )
    if check:
        _look_at(model)
    return model


def _only(asked: dict[str, Network | None]) -> tuple[str, Network]:
    """Return the one network that is given, and what it is said to be."""
    given = [(kind, function) for kind, function in asked.items() if function is not None]
    if len(given) != 1:
        found = " and ".join(kind for kind, _ in given) or "none of them"
        raise UsageError(f"wrap takes a network as one of {', '.join(asked)}, which say what it predicts; given: {found}.")
    kind, function = given[0]
    if not callable(function):
        raise UsageError(f"wrap takes a network that can be called as {kind}, not an object of {type(function).__name__}.")
    return kind, function


def _module_of(function: Network, named: nn.Module | None, captured: Captured | None) -> nn.Module | None:
    """Return the modules behind a network as one: itself, the one that the user names, or those that a function has."""
    if isinstance(function, nn.Module):
        return function
    if named is not None or captured is None or not captured.modules:
        return named
    return captured.modules[0] if len(captured.modules) == 1 else _Several(captured.modules)


class _Several(nn.Module):
    """Several modules that one function calls, of which none is in training mode if this one is not."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(modules)
        self.training = any(module.training for module in modules)


def _schedule(betas: Any, alphas_cumprod: Any) -> DiscreteVP | None:
    """Return the path of a DDPM schedule, None if there is none."""
    if betas is None and alphas_cumprod is None:
        return None
    if betas is not None and alphas_cumprod is not None:
        raise UsageError("Give wrap either betas or alphas_cumprod: each of them is the whole schedule.")
    given = torch.as_tensor(alphas_cumprod if betas is None else betas, dtype=torch.float64).detach().cpu()
    return DiscreteVP((given if betas is None else torch.cumprod(1.0 - given, 0)).tolist())


def _settle(
    kind: str,
    path: object,
    time: str,
    sigmas: tuple[float, float],
    schedule: DiscreteVP | None,
) -> tuple[Calling, Path]:
    """Return how a network of this kind is called, and its path."""
    if time not in ("0 to 1", "1 to 0"):
        raise UsageError(f"time is '0 to 1' if the network counts from noise to data, or '1 to 0', not {time!r}.")
    named = None if path is None else as_path(path)
    if schedule is not None and (named is not None or time == "1 to 0" or kind in ("velocity", "denoiser")):
        raise UsageError(
            "A schedule of betas or alphas_cumprod is for epsilon, v or x, which are told its timesteps; it is the path, and"
            " has its own direction of time."
        )
    if kind == "denoiser":
        if time == "1 to 0":
            raise UsageError("A denoiser is told the noise sigma in place of a time, so that it takes no time='1 to 0'.")
        return Calling("x", "sigma"), named or EDM(*sigmas)
    prediction: Any = kind
    if schedule is not None:
        return Calling(prediction, "timestep"), schedule
    if kind != "velocity" and named is None:
        raise UsageError(
            f"A network that predicts {kind} needs its schedule: betas=, alphas_cumprod=, or path= if it is told a time in"
            " [0, 1]."
        )
    clock: Any = time
    return Calling(prediction, clock), named or make_path("condot")


def _conditions(given: Any, null: Any, texts: Sequence[str], encode: Encode | None) -> Conditions:
    """Return what samples are conditioned on; classes stand for their labels."""
    if (encode is None) != (not texts):
        raise UsageError("Texts need an encoder, and an encoder texts: give wrap both texts= and encode=.")
    if encode is not None:
        if given is not None or null is not None:
            raise UsageError("Texts take the place of conditions, and the empty text that of null_condition.")
        return Conditions(lexicon=Lexicon(texts, encode))
    if isinstance(given, int):
        if given < 1:
            raise UsageError(f"conditions is a number of classes of at least 1, not {given}.")
        given = torch.arange(given)
    return Conditions(given, torch.tensor(null) if isinstance(null, int) else null)


def _look_at(model: WrappedModel) -> None:
    """Try a network on a few samples, and log what its predictions tell about its wiring if that is quick."""
    if model.captured is not None and model.passing:
        _log.warning(
            "Nothing about the network %s is kept, since its function uses %s: give wrap a fingerprint to keep it.",
            model.name,
            model.captured.unknown,
        )
    began = clocks.monotonic()
    _try_out(model)
    seconds = (clocks.monotonic() - began) / 2 / TRIED
    if seconds * EVALUATIONS * count_of(model) < PATIENCE and (told := told_once(model, model.name)):
        _log.warning(told)


@torch.no_grad()
def _try_out(model: WrappedModel) -> None:
    """Raise UsageError if the network raises, or gives answers that no sampler can use."""
    condition = model.conditions(torch.arange(TRIED))
    t = torch.tensor(sum(model.interval) / 2, dtype=torch.float64)
    generator = torch.Generator().manual_seed(stream_seed("wrap"))
    noise = torch.randn(TRIED, *model.shape, generator=generator).to(model.device or "cpu", model.dtype)
    states = float(model.path.sigma(t)) * noise
    there = None if condition is None else condition.to(noise.device)
    try:
        first, second = (model.predict(t, states, there) for _ in range(2))
    except UsageError:
        raise
    except Exception as error:  # whatever a network raises
        raise UsageError(_raised(model, error, condition)) from error
    if first.dtype != states.dtype:
        raise UsageError(f"The network {model.name} returned {first.dtype} for states in {states.dtype}.")
    if not bool(first.isfinite().all()):
        raise UsageError(f"The network {model.name} returned numbers that are not finite, at t = {float(t):.3g} for noise.")
    if float((first - second).abs().max()) > ROUNDING * float(first.abs().max()):
        raise UsageError(
            f"The network {model.name} gave two answers to the same question: it draws random numbers, by dropout or noise,"
            " and no field of an ODE does."
        )


def _raised(model: WrappedModel, error: Exception, condition: Tensor | None) -> str:
    """Say what a network has raised, and how it was called."""
    told = "" if condition is None else f" and conditions {list(condition.shape)} in {condition.dtype}"
    sentence = (
        f"The network {model.name} raised {with_place(error)} when it was called as {model.calling.words}, with states"
        f" {[TRIED, *model.shape]} in {model.dtype}{told}."
    )
    text = str(error).lower()
    if "long" in text or "indices" in text:
        sentence += (
            " If it takes whole timesteps only, it knows no time between them, and has no field that could be solved."
        )
    return sentence
