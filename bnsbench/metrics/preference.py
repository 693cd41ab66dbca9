"""A preference score: how a reader of conditions would choose between a sample and the ground truth of the same noise."""

from __future__ import annotations

import torch
from torch import Tensor

from bnsbench.flows.judge import ConditionJudge
from bnsbench.metrics.alignment import judge_and_conditions
from bnsbench.metrics.base import MetricValue, SampleSet, finite
from bnsbench.metrics.degenerate import is_flat
from bnsbench.metrics.paired import mean_of


class Preference:
    """The mean probability that a sample is preferred to the ground truth of its noise, as showing what was asked for.

    Of two samples x and y for a condition c, x is preferred with the probability s(x) / (s(x) + s(y)) (Bradley & Terry
    1952), as in PickScore (Kirstain et al. 2023, Eq. 1), where s is what the model's judge thinks of p(c | x). 0.5 is as
    good as the ground truth. A sample without variation shows nothing and is never preferred.

    Raises:
        NotApplicableError: If samples are unconditional, or the model has no judge that tells likelihoods.
        DivergedError: If samples are not finite.
    """

    def __call__(self, samples: SampleSet) -> MetricValue:
        # End states are judged, but where the decoder fails nobody is shown anything.
        samples.require_finite(decoded=samples.decoder is not None)
        judge, condition = judge_and_conditions(samples, type(self).__name__)
        with torch.no_grad():
            (own, flat), (truth, _) = (_likelihood(judge, x, condition) for x in (samples.latents, samples.truth_latents))
        chosen = torch.sigmoid(own - truth).masked_fill(flat, 0.0)
        return mean_of(chosen, 0.05, {"truth": 0.5}, {"classifier": judge.fingerprint()})


def _likelihood(judge: ConditionJudge, states: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
    """Return log p(condition | sample) [n] in float64 for end states [n, *shape], and whether samples are flat [n]."""
    shown = judge.shown(states.cpu().float())
    told = judge.log_likelihood(shown, condition).double()
    return finite(told[:, None], "likelihoods of conditions")[:, 0], is_flat(shown)
