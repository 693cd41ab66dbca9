"""Models with one fault each: the check that is to find it has the model's name, spelt with hyphens."""

from __future__ import annotations

import itertools

import torch

from bnsbench.contract.hookspecs import hookimpl
from bnsbench.contract.specs import ModelSpec
from bnsbench.errors import NotApplicableError
from bnsbench.flows.features import SampleFeatures
from bnsbench.flows.judge import ConditionJudge
from bnsbench.flows.paths import CondOT
from bnsbench.models.mixtures import MixtureModel
from bnsbench.testing.problems import image_model

_CALLS = itertools.count(1)


@hookimpl
def bnsbench_models():
    for name, target in TARGETS.items():
        modality = "audio" if name == "modality" else "image"
        guidable = name != "guidable-unsaid"
        yield ModelSpec(name, f":{target}", "A model with a fault.", guidable=guidable, modality=modality)
    yield ModelSpec("as-asked", ":AsAsked", "A model without a fault.", parameters={"classes": True}, guidable=True)


class Pixels(SampleFeatures):
    """Features that are pixels."""

    name = "pixels"
    width = 4
    classes = 2

    def of_samples(self, samples):
        return samples.flatten(1)

    def logits(self, samples):
        return samples.flatten(1)[:, :2]

    def fingerprint(self):
        return "0123456789"


class Signs(ConditionJudge):
    """Finds the class in the sign of the first pixel."""

    asks = "class"

    def found(self, shown, condition):
        return (shown.flatten(1)[:, :1] < 0).long() == condition[:, None]

    def fingerprint(self):
        return "9876543210"


class Sound(MixtureModel):
    def __init__(self):
        self.__dict__.update(image_model(CondOT(), (0.0, 1.0)).__dict__)

    def features(self):
        return Pixels()

    def judge(self):
        return Signs()


class Reshapes(Sound):
    def predict(self, t, x, condition):
        return super().predict(t, x, condition)[:, :, :1]


class Precision(Sound):
    def predict(self, t, x, condition):
        return super().predict(t, x, condition) * torch.ones(1, dtype=torch.float64)


class Rounding(Sound):
    def predict(self, t, x, condition):
        return super().predict(t, x, condition) * (1.1 if x.dtype == torch.float32 else 1.0)


class Stuck(Sound):
    def to(self, device, dtype):
        super().to(device, dtype)
        self.dtype = torch.float64
        return self


class Finite(Sound):
    def predict(self, t, x, condition):
        return super().predict(t, x, condition) / (t.to(x) < 1).reshape(-1, 1, 1, 1).to(x)


class Deterministic(Sound):
    def predict(self, t, x, condition):
        return super().predict(t, x, condition) + 1e-12 * next(_CALLS)


class BatchSplit(Sound):
    def predict(self, t, x, condition):
        found = super().predict(t, x, condition)
        return found - 1e-3 * found.mean(0) * (len(found) == 1)  # so that no other check sees it


class Input(Sound):
    def predict(self, t, x, condition):
        found = super().predict(t, x, condition)
        x += 1.0
        return found


class MovesState(Sound):
    def predict(self, t, x, condition):
        torch.rand(1)
        return super().predict(t, x, condition)


class NeedsState(Sound):
    def __init__(self):
        super().__init__()
        self.scale = 1.0 + 1e-3 * float(torch.rand(1))

    def predict(self, t, x, condition):
        return self.scale * super().predict(t, x, condition)

    def to(self, device, dtype):
        self.scale = 1.0
        return super().to(device, dtype)


class Conditions(Sound):
    def conditions(self, indices):
        return torch.arange(len(indices)) % 2


class Guidance(Sound):
    def guided(self, t, x, condition, guidance):
        return super().guided(t, x, condition, 1.1 * guidance)


class NoNull(Sound):
    def null_condition(self, condition):
        raise NotApplicableError("there is none")


class Unconditional(Sound):
    def conditions(self, indices):
        return None


class AsAsked(Sound):
    """With classes or without, as one record for many networks has it."""

    def __init__(self, classes=True):
        super().__init__()
        self.conditional = classes

    def conditions(self, indices):
        return super().conditions(indices) if self.conditional else None


class Fingerprint(Sound):
    def fingerprint(self):
        return f"{id(self) + next(_CALLS):x}"


class Hash(Sound):
    def fingerprint(self):
        return f"{abs(hash('weights')):016x}"


class NotHexadecimal(Sound):
    def fingerprint(self):
        return "my-weights"


class Declarations(Sound):
    data_range = 0.0


class Wiring(Sound):
    def predict(self, t, x, condition):
        return super().predict(1.0 - t, x, condition)


class Rate(Sound):
    sample_rate = 16000


class Decode(Sound):
    def decode(self, x):
        return x.flatten(1)


def seeing(**changed):
    """A sound model whose features have one fault."""
    made = Sound()
    features = Pixels()
    for name, value in changed.items():
        setattr(features, name, value)
    made.features = lambda: features  # type: ignore[method-assign]
    return made


def fewer_features():
    return seeing(width=3)


def fewer_logits():
    return seeing(classes=3)


def infinite_features():
    first = torch.tensor([True, False, False, False])
    return seeing(of_samples=lambda samples: samples.flatten(1).masked_fill(first, torch.inf))


def features_by_chance():
    return seeing(of_samples=lambda samples: samples.flatten(1) + 1e-3 * torch.rand(1))


def features_of_batches():
    return seeing(of_samples=lambda samples: samples.flatten(1) - samples.flatten(1).mean(0))


def detached_features():
    return seeing(of_samples=lambda samples: samples.flatten(1).detach())


def rounded_features():
    return seeing(of_samples=lambda samples: (10 * samples).round().flatten(1))


class FeaturesFingerprint(Sound):
    def features(self):
        made = Pixels()
        made.fingerprint = lambda: f"{next(_CALLS):08}"  # type: ignore[method-assign]
        return made


def function_of_features():
    made = Sound()
    made.features = lambda: torch.flatten  # type: ignore[method-assign]
    return made


def judged(**changed):
    """A sound model whose judge has one fault."""
    made = Sound()
    judge = Signs()
    for name, value in changed.items():
        setattr(judge, name, value)
    made.judge = lambda: judge  # type: ignore[method-assign]
    return made


def judge_of_scores():
    return judged(found=lambda shown, condition: shown.flatten(1)[:, :1] * condition[:, None])


def judge_of_batches():
    return judged(found=lambda shown, condition: (shown.flatten(1) > shown.flatten(1).mean(0) - 1e-9)[:, :1])


def judge_of_smells():
    return judged(asks="smell")


def nameless_judge():
    return judged(fingerprint=lambda: "me")


def number():
    return 7


TARGETS = {
    "sound": "Sound",
    "wiring": "Wiring",
    "runs": "Reshapes",
    "no-model": "number",
    "precision": "Precision",
    "rounding": "Rounding",
    "stuck": "Stuck",
    "finite": "Finite",
    "deterministic": "Deterministic",
    "batch-split": "BatchSplit",
    "input": "Input",
    "moves-state": "MovesState",
    "needs-state": "NeedsState",
    "conditions": "Conditions",
    "guidance": "Guidance",
    "no-null": "NoNull",
    "unconditional": "Unconditional",
    "guidable-unsaid": "Sound",
    "fingerprint": "Fingerprint",
    "hash": "Hash",
    "not-hexadecimal": "NotHexadecimal",
    "declarations": "Declarations",
    "modality": "Sound",
    "rate": "Rate",
    "decode": "Decode",
    "fewer-features": "fewer_features",
    "fewer-logits": "fewer_logits",
    "infinite-features": "infinite_features",
    "features-by-chance": "features_by_chance",
    "features-of-batches": "features_of_batches",
    "detached-features": "detached_features",
    "rounded-features": "rounded_features",
    "features-fingerprint": "FeaturesFingerprint",
    "function-of-features": "function_of_features",
    "judge-of-scores": "judge_of_scores",
    "judge-of-batches": "judge_of_batches",
    "judge-of-smells": "judge_of_smells",
    "nameless-judge": "nameless_judge",
}
