"""Textures: 32x32 colour pictures by class, exact and cheap in 3,072 dimensions, made from formulas alone.

A mixture of Gaussians whose covariances are all diagonal in one cosine basis: an evaluation is a change of basis, a few
elementwise operations and the change back. Two restrictions keep everything small that depends on class and time, so that
a time for each sample costs little more than one for all: variances are constant over bands of frequencies, and mean
pictures are made of the lowest frequencies only, each of which is a band of its own.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn.functional import pad

from bnsbench.flows.guidance import Guidance
from bnsbench.flows.predictions import per_sample
from bnsbench.models.exact import ExactModel
from bnsbench.models.mixtures import mixture_path

SIDE = 32
LOW = 10
"""Frequencies per axis that mean pictures are made of."""

VARIANTS = (-1, 0, 1)
"""Components per class: variants of its picture, under one spectrum."""

CONTRAST = 0.72
DEVIATION = 0.25
"""Standard deviation of pixels around their mean picture, whose colours are scaled by CONTRAST to leave room for it."""

CORNER = 2.0
"""Frequency, in half periods per picture, below which spectra are flat."""

COLOUR_SHARES = (0.86, 0.07, 0.07)
"""Shares of the variance in brightness and in the two colour differences."""


@dataclass(frozen=True)
class CosineBasis:
    """An orthonormal basis of RGB images: brightness and two colour differences, each by the separable DCT-II.

    colours [3, 3] and cosines [side, side] have one basis vector per row; bands [bands, side] says by ones which
    frequencies of an axis make up which band. Coefficients are [batch, 3, side, side].
    """

    colours: Tensor
    cosines: Tensor
    bands: Tensor

    @classmethod
    def of(cls, side: int, low: int) -> CosineBasis:
        """Return the basis in float64, with ``low`` bands of one frequency and others a quarter as wide as they are high."""
        colours = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, -2.0, 1.0]], dtype=torch.float64)
        frequency = torch.arange(side, dtype=torch.float64)
        cosines = torch.cos((math.pi / side) * frequency[:, None] * (frequency + 0.5))
        edges = list(range(low + 1))
        while edges[-1] < side:
            edges.append(min(side, edges[-1] + max(1, edges[-1] // 4)))
        begin, end = torch.tensor(edges[:-1])[:, None], torch.tensor(edges[1:])[:, None]
        bands = ((begin <= frequency) & (frequency < end)).to(torch.float64)
        return cls(colours / colours.norm(dim=1, keepdim=True), cosines / cosines.norm(dim=1, keepdim=True), bands)

    def to(self, device: torch.device | str, dtype: torch.dtype) -> CosineBasis:
        """Return the basis on that device and in that precision."""
        return CosineBasis(*(matrix.to(device=device, dtype=dtype) for matrix in (self.colours, self.cosines, self.bands)))

    def coefficients(self, images: Tensor) -> Tensor:
        """Return the coefficients of images [batch, 3, side, side]."""
        rotated = (self.colours @ images.flatten(2)).view(images.shape)
        return self.cosines @ (rotated @ self.cosines.mT)

    def images(self, coefficients: Tensor) -> Tensor:
        """Return the images [batch, 3, side, side] with these coefficients."""
        planes = self.cosines.mT @ (coefficients @ self.cosines)
        return (self.colours.mT @ planes.flatten(2)).view(planes.shape)

    def pooled(self, coefficients: Tensor) -> Tensor:
        """Return the sums over bands [batch, 3, bands, bands]."""
        return self.bands @ (coefficients @ self.bands.mT)

    def spread(self, values: Tensor) -> Tensor:
        """Return coefficients that are constant in every band, with the band's entry of values [batch, 3, bands, bands]."""
        return self.bands.mT @ (values @ self.bands)

    def widened(self, lowest: Tensor) -> Tensor:
        """Return coefficients that are zero but for the lowest frequencies [batch, 3, low, low]."""
        missing = len(self.cosines) - lowest.shape[-1]
        return pad(lowest, (0, missing, 0, missing))


@dataclass(frozen=True)
class SpectralMixture:
    """Equally likely Gaussians with diagonal covariances: each class has one spectrum and several means.

    means [classes, variants, 3, low, low] are coefficients of the lowest frequencies, and variances
    [classes, 3, bands, bands] those of bands, in the basis of images of side x side pixels.
    """

    means: Tensor
    variances: Tensor
    side: int

    def basis(self) -> CosineBasis:
        """Return the basis that means and variances refer to, in float64."""
        return CosineBasis.of(self.side, self.means.shape[-1])

    def sample(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Draw images [n, 3, side, side] of the classes ``labels`` [n]."""
        basis = self.basis()
        variants = torch.randint(self.means.shape[1], labels.shape, generator=generator)
        noise = torch.randn(len(labels), 3, self.side, self.side, generator=generator, dtype=torch.float64)
        deviations = basis.spread(self.variances.sqrt())
        return basis.images(basis.widened(self.means[labels, variants]) + deviations[labels] * noise)

    def digest(self) -> str:
        """Return the sha256 of the parameters."""
        content = b"".join(tensor.contiguous().numpy().tobytes() for tensor in (self.means, self.variances))
        return hashlib.sha256(content + str(self.side).encode()).hexdigest()


class _Moment(NamedTuple):
    """The quantities that depend on the time alone.

    alpha, d_alpha, noise_variance = sigma^2 and noise_slope = sigma sigma' are [1 or batch, 1, 1]; the classes' marginal
    precisions 1 / (alpha^2 C + sigma^2) are [1 or batch, classes, n], of all bands and of the lowest frequencies.
    """

    alpha: Tensor
    d_alpha: Tensor
    noise_variance: Tensor
    noise_slope: Tensor
    precision: Tensor
    low_precision: Tensor


class TextureModel(ExactModel):
    """The exact velocity field of a spectral mixture on a path that `mixture_path` knows.

    Float32 by default: it takes less than half the time of float64, and still resolves the ground truth to more than 110 dB.
    """

    mixture: SpectralMixture

    def __init__(self, mixture: SpectralMixture, path: str = "condot") -> None:
        self.mixture = mixture
        self.classes = len(mixture.means)
        self.path, self.interval = mixture_path(path)
        self.shape = (3, mixture.side, mixture.side)
        self.to("cpu", self.dtype)

    def predict(self, t: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        return self._velocity(t, x, lambda log_density: self._posterior(log_density, condition))

    def guided(self, t: Tensor, x: Tensor, condition: Tensor | None, guidance: Guidance) -> Tensor:
        if condition is None or (not isinstance(guidance, Tensor) and guidance == 0):
            return super().guided(t, x, condition, guidance)
        scale = torch.as_tensor(1.0 + guidance, dtype=torch.float64)

        def weigh(log_density: Tensor) -> Tensor:
            # The velocity is linear in the components' weights, so that guiding these guides it at the price of one.
            own, every = self._posterior(log_density, condition), self._posterior(log_density, None)
            return torch.lerp(every, own, per_sample(scale, own))

        return self._velocity(t, x, weigh)

    def _posterior(self, log_density: Tensor, condition: Tensor | None) -> Tensor:
        """Return the components' probabilities [batch, classes, variants] given the state and the condition."""
        if condition is not None:
            labels = torch.arange(self.classes, device=condition.device)
            others = (condition[:, None] != labels) & (condition[:, None] != self.classes)
            log_density = log_density.masked_fill(others[..., None], -math.inf)
        return torch.softmax(log_density.flatten(1), dim=-1).view(log_density.shape)

    def _velocity(self, t: Tensor, x: Tensor, weigh: Callable[[Tensor], Tensor]) -> Tensor:
        """Return sum_k r_k u_k for x [batch, 3, side, side], where u_k is the velocity of component k alone.

        weigh: from log-densities up to a constant to the weights r, both [batch, classes, variants].
        """
        # In the cosine basis all covariances are diagonal: u = sum_k r_k (drift_k + gain_k y).
        moment = self._moment(t, x)
        y = self._basis.coefficients(x)
        weights = weigh(self._log_density(y, moment))
        drift = self._basis.widened(self._drift(weights, moment))
        return self._basis.images(torch.addcmul(drift, self._basis.spread(self._gain(weights.sum(2), moment)), y))

    def _moment(self, t: Tensor, x: Tensor) -> _Moment:
        path = self.path
        values = path.alpha(t), path.d_alpha(t), path.sigma(t) ** 2, path.sigma_d_sigma(t)
        alpha, d_alpha, noise_variance, noise_slope = torch.stack(values).to(x).reshape(4, -1, 1, 1)
        precision = torch.addcmul(noise_variance, alpha**2, self._variances).reciprocal()
        low_precision = torch.addcmul(noise_variance, alpha**2, self._low_variances).reciprocal()
        return _Moment(alpha, d_alpha, noise_variance, noise_slope, precision, low_precision)

    def _log_density(self, y: Tensor, moment: _Moment) -> Tensor:
        """Return log N(y; a mu_k, 1 / P_k) up to a constant of all components, where a is alpha and P_k the precision."""
        energy = self._basis.pooled(y * y).flatten(1)
        of_class = _row_products(energy, moment.precision.mT) - moment.precision.log() @ self._sizes
        low = self.mixture.means.shape[-1]
        whitened = y[..., :low, :low].flatten(1)[:, None] * moment.low_precision
        match = torch.einsum("bcl,cvl->bcv", whitened, self._means)
        length = torch.einsum("bcl,cvl->bcv", moment.low_precision, self._squares)
        return moment.alpha * (match - 0.5 * moment.alpha * length) - 0.5 * of_class[..., None]

    # A component's velocity a' mu + (a a' C + s s') P (y - a mu) equals (a a' C + s s') P y + (a' s^2 - a s s') P mu, where
    # s is sigma. Both coefficients are finite at both ends of the path.

    def _gain(self, shares: Tensor, moment: _Moment) -> Tensor:
        """Return the classes' (a a' C + s s') P, weighted by their shares [batch, classes]: [batch, 3, bands, bands]."""
        of_data = _row_products(shares, self._variances * moment.precision)
        of_noise = _row_products(shares, moment.precision)
        gain = (moment.alpha * moment.d_alpha)[:, 0] * of_data + moment.noise_slope[:, 0] * of_noise
        return gain.view(-1, *self.mixture.variances.shape[1:])

    def _drift(self, weights: Tensor, moment: _Moment) -> Tensor:
        """Return the components' (a' s^2 - a s s') P mu, weighted by [batch, classes, variants]: [batch, 3, low, low]."""
        means = (moment.low_precision * torch.einsum("bcv,cvl->bcl", weights, self._means)).sum(1)
        factor = moment.d_alpha * moment.noise_variance - moment.alpha * moment.noise_slope
        return (factor[:, 0] * means).view(-1, *self.mixture.means.shape[2:])

    def draw(self, labels: Tensor | None, count: int, generator: torch.Generator) -> Tensor:
        chosen = torch.randint(self.classes, (count,), generator=generator) if labels is None else labels
        return self.mixture.sample(chosen, generator)

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        # From the float64 parameters each time, so that a stay in low precision leaves no trace.
        mixture, basis = self.mixture, self.mixture.basis()
        means, low = mixture.means.flatten(2), mixture.means.shape[-1]
        sizes = basis.pooled(torch.ones(1, *self.shape, dtype=torch.float64)).flatten()
        spectra = mixture.variances.flatten(1), mixture.variances[..., :low, :low].flatten(1)
        self._basis = basis.to(device, dtype)
        self._means, self._squares, self._sizes = (table.to(device, dtype) for table in (means, means**2, sizes))
        self._variances, self._low_variances = (spectrum.to(device, dtype) for spectrum in spectra)
        return super().to(device, dtype)


def _row_products(rows: Tensor, matrices: Tensor) -> Tensor:
    """Return each row of [batch, n] times the one matrix, or its own, of [1 or batch, n, m]: [batch, m]."""
    return (rows.view(len(matrices), -1, rows.shape[1]) @ matrices).flatten(0, 1)


@dataclass(frozen=True)
class Texture:
    """The appearance of a class.

    colours: three, as 0xRRGGBB, through which the values of ``level`` from 0 to 1 run.
    level: its picture as a function of x (rightwards) and y (downwards) in (-1, 1) and of the variant.
    slope: of the power law of its spectrum.
    stretch: of horizontal and vertical frequencies in it, so that (2, 0.5) draws horizontal streaks.
    """

    name: str
    colours: tuple[int, int, int]
    level: Callable[[Tensor, Tensor, int], Tensor]
    slope: float
    stretch: tuple[float, float] = (1.0, 1.0)

    def picture(self, side: int, variant: int) -> Tensor:
        """Return a variant's picture [3, side, side] in [-1, 1]."""
        axis = (torch.arange(side, dtype=torch.float64) + 0.5) * (2.0 / side) - 1.0
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        level = 2.0 * self.level(x, y, variant)
        first, second, third = (_colour(code)[:, None, None] for code in self.colours)
        return torch.lerp(torch.lerp(first, second, level.clamp(0.0, 1.0)), third, (level - 1.0).clamp(0.0, 1.0))

    def spectrum(self, side: int) -> Tensor:
        """Return the variances of coefficients [3, side, side], whose mean is DEVIATION^2."""
        frequency = torch.arange(side, dtype=torch.float64)
        horizontal, vertical = self.stretch
        squared = (vertical * frequency[:, None]) ** 2 + (horizontal * frequency) ** 2
        plane = (CORNER**2 + squared) ** -self.slope
        shares = torch.tensor(COLOUR_SHARES, dtype=torch.float64)[:, None, None]
        return 3.0 * DEVIATION**2 * shares * plane / plane.mean()


def _colour(code: int) -> Tensor:
    return torch.tensor([code >> 16 & 255, code >> 8 & 255, code & 255], dtype=torch.float64) / 127.5 - 1.0


def _inside(distance: Tensor) -> Tensor:
    """Return 1 where the distance to a border is well above 0 and 0 where it is well below, with a soft edge between."""
    return torch.sigmoid(distance / 0.08)


def _wave(phase: Tensor) -> Tensor:
    """Return a wave from 0 to 1, with one period per unit of phase."""
    return 0.5 + 0.5 * torch.sin(2.0 * math.pi * phase)


def _sunset(x: Tensor, y: Tensor, variant: int) -> Tensor:
    sky = 0.25 + 0.25 * y
    return sky + (1.0 - sky) * _inside(0.35 - torch.hypot(x - 0.45 * variant, y - 0.25))


def _meadow(x: Tensor, y: Tensor, variant: int) -> Tensor:
    hill = 0.2 - 0.25 * torch.cos(math.pi * (x - 0.5 * variant))
    cloud = _inside(0.28 - torch.hypot(0.8 * (x + 0.4 * variant), y + 0.5))
    return 0.5 + 0.5 * _inside(y - hill) - 0.5 * cloud


def _stripes(x: Tensor, y: Tensor, variant: int) -> Tensor:
    del y
    return _wave(1.5 * x + variant / 3)


def _sea(x: Tensor, y: Tensor, variant: int) -> Tensor:
    return _wave(1.5 * y + 0.15 * torch.sin(math.pi * (x + 2 * variant / 3)))


def _planet(x: Tensor, y: Tensor, variant: int) -> Tensor:
    x, y = x - 0.3 * variant, y + 0.2 - 0.4 * abs(variant)
    return 0.5 * _inside(0.55 - torch.hypot(x, y)) + 0.5 * _inside(0.25 - torch.hypot(x - 0.15, y + 0.2))


def _checks(x: Tensor, y: Tensor, variant: int) -> Tensor:
    return torch.sigmoid(4.0 * torch.sin(1.5 * math.pi * (x + variant / 3)) * torch.sin(1.5 * math.pi * y))


def _rings(x: Tensor, y: Tensor, variant: int) -> Tensor:
    return _wave(1.6 * torch.hypot(x - 0.2 * variant, y + 0.2 - 0.3 * abs(variant)) + 0.25)


def _diagonals(x: Tensor, y: Tensor, variant: int) -> Tensor:
    return _wave(x + y + variant / 3)


TEXTURES = (
    Texture("sunset", (0x4A3B8F, 0xF08A4B, 0xFFE9A0), _sunset, 1.6, (2.0, 0.5)),
    Texture("meadow", (0xFFFFFF, 0x6FB7F0, 0x3F9A3F), _meadow, 1.3, (0.7, 1.6)),
    Texture("stripes", (0xC8323C, 0xE08A80, 0xF4E3C8), _stripes, 1.4, (0.5, 2.0)),
    Texture("sea", (0x1F5FA8, 0x7CA8CE, 0xD8F0F4), _sea, 1.4, (2.0, 0.5)),
    Texture("planet", (0x141432, 0xC87850, 0xF0C890), _planet, 1.8),
    Texture("checks", (0x7A3FA0, 0xB78980, 0xF4D35E), _checks, 1.2),
    Texture("rings", (0x0E8C8C, 0x829474, 0xF79D5C), _rings, 1.4),
    Texture("diagonals", (0x202020, 0x58763E, 0x8FCB5B), _diagonals, 1.4),
)
"""The classes, in the order of their labels."""


def spectral_mixture(side: int = SIDE, low: int = LOW) -> SpectralMixture:
    """Return the textures as images of side x side pixels whose means are made of ``low`` frequencies per axis."""
    basis = CosineBasis.of(side, low)
    pictures = torch.stack([texture.picture(side, variant) for texture in TEXTURES for variant in VARIANTS])
    means = CONTRAST * basis.coefficients(pictures)[..., :low, :low].reshape(len(TEXTURES), len(VARIANTS), 3, low, low)
    spectra = torch.stack([texture.spectrum(side) for texture in TEXTURES])
    variances = basis.pooled(spectra) / basis.pooled(torch.ones_like(spectra))
    return SpectralMixture(_rounded(means, 12), _rounded(variances, 24), side)


def _rounded(values: Tensor, bits: int) -> Tensor:
    """Return values rounded to multiples of 2^-bits, so that all machines agree on them, and on the fingerprint."""
    # Zero is added because a rounded -1e-17 would be a -0, whose bytes are others.
    return (values * 2.0**bits).round() / 2.0**bits + 0.0


def textures(path: str = "condot") -> TextureModel:
    """Return eight classes of 32x32 RGB textures in about [-1, 1]; path as `mixture_path` reads it."""
    return TextureModel(spectral_mixture(), path)
