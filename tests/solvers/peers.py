"""Samplers of other software, written again in their own terms: x / alpha over sigma / alpha, from noise to data.

A denoiser is a function of such a state and noise level that returns the data prediction. ``sigmas`` are plain numbers that
decrease; a last one of 0 is the data. Their noise (eta, tau, s_churn) is off.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from scipy.integrate import quad
from scipy.interpolate import lagrange
from torch import Tensor


def polynomials(nodes):
    """The Lagrange polynomials of the nodes."""
    return [lagrange(nodes, unit) for unit in np.eye(len(nodes))]


def slope(denoise, x, sigma):
    """k-diffusion's d: the derivative of the state by its noise level."""
    return (x - denoise(x, sigma)) / sigma


def euler(denoise, x, sigmas):
    for a, b in pairwise(sigmas):
        x = x + (b - a) * slope(denoise, x, a)
    return x


def heun(denoise, x, sigmas):
    for a, b in pairwise(sigmas):
        d = slope(denoise, x, a)
        x_b = x + (b - a) * d
        x = x_b if b == 0 else x + (b - a) * (d + slope(denoise, x_b, b)) / 2
    return x


def dpm_2(denoise, x, sigmas):
    for a, b in pairwise(sigmas):
        d = slope(denoise, x, a)
        if b == 0:
            x = x + (b - a) * d
        else:
            middle = math.sqrt(a * b)
            x = x + (b - a) * slope(denoise, x + (middle - a) * d, middle)
    return x


def lms(denoise, x, sigmas, order=4):
    nodes: list[float] = []
    ds: list[Tensor] = []
    for a, b in pairwise(sigmas):
        nodes, ds = [*nodes, a][-order:], [*ds, slope(denoise, x, a)][-order:]
        weights = [p.integ()(b) - p.integ()(a) for p in polynomials(nodes)]
        x = x + sum(w * d for w, d in zip(weights, ds, strict=True))
    return x


def ipndm(denoise, x, sigmas, order=4):
    weights: dict[int, list[float]] = {
        1: [1],
        2: [3 / 2, -1 / 2],
        3: [23 / 12, -16 / 12, 5 / 12],
        4: [55 / 24, -59 / 24, 37 / 24, -9 / 24],
    }
    ds: list[Tensor] = []
    for a, b in pairwise(sigmas):
        ds = [slope(denoise, x, a), *ds][:order]
        x = x + (b - a) * sum(w * d for w, d in zip(weights[len(ds)], ds, strict=True))
    return x


def ipndm_v(denoise, x, sigmas, order=4):
    """diff-sampler's ipndm_v; its weights as a sum over differences of slopes, which its coefficients are when expanded."""
    ds: list[Tensor] = []
    for i, (a, b) in enumerate(pairwise(sigmas)):
        ds = [slope(denoise, x, a), *ds][:order]
        if b == 0:
            return denoise(x, a)
        h = [b - a, *(sigmas[i - k] - sigmas[i - k - 1] for k in range(len(ds) - 1))]
        d_bar = ds[0]
        if len(ds) > 1:
            d_bar = d_bar + h[0] / h[1] / 2 * (ds[0] - ds[1])
        if len(ds) > 2:
            t1 = (1 - h[0] / (3 * (h[0] + h[1])) * (h[0] * (h[0] + h[1])) / (h[1] * (h[1] + h[2]))) / 2
            d_bar = d_bar + t1 * ((ds[0] - ds[1]) - h[1] / h[2] * (ds[1] - ds[2]))
        if len(ds) > 3:
            h012, h123 = sum(h[:3]), sum(h[1:])
            t2 = (1 - h[0] / (3 * (h[0] + h[1]))) / 2 + (1 - h[0] / (2 * (h[0] + h[1]))) * h[0] / (6 * h012)
            t2 *= h[0] * (h[0] + h[1]) * h012 / (h[1] * (h[1] + h[2]) * h123)
            q = h[1] * (h[1] + h[2]) / (h[2] * (h[2] + h[3]))
            third = ds[0] - (1 + h[1] / h[2] + q) * ds[1] + (h[1] / h[2] + q * (1 + h[2] / h[3])) * ds[2]
            d_bar = d_bar + t2 * (third - q * h[1] / h[2] * ds[3])
        x = x + h[0] * d_bar
    return x


def gradient_estimation(denoise, x, sigmas, gamma=2.0, before=None):
    for a, b in pairwise(sigmas):
        d = slope(denoise, x, a)
        x = denoise(x, a) if b == 0 else x + (b - a) * (d if before is None else gamma * d + (1 - gamma) * before)
        before = d
    return x


def dpmpp_2m(denoise, x, sigmas, solver_type="midpoint"):
    """k-diffusion's dpmpp_2m ("midpoint") and dpmpp_2m_sde of either type."""
    before = h_before = None
    for a, b in pairwise(sigmas):
        data = denoise(x, a)
        if b == 0:
            return data
        h = math.log(a / b)
        gain = 1 - math.exp(-h)
        x_b = math.exp(-h) * x + gain * data
        if before is not None and h_before is not None:
            weight = gain / 2 if solver_type == "midpoint" else 1 - gain / h
            x_b = x_b + weight * h / h_before * (data - before)
        x, before, h_before = x_b, data, h
    return x


def dpmpp_3m_sde(denoise, x, sigmas):
    datas: list[Tensor] = []
    steps: list[float] = []
    for a, b in pairwise(sigmas):
        data = denoise(x, a)
        if b == 0:
            return data
        h = math.log(a / b)
        phi_2 = (math.exp(-h) - 1) / h + 1
        phi_3 = phi_2 / h - 1 / 2
        x = math.exp(-h) * x + (1 - math.exp(-h)) * data
        if len(datas) == 1:
            x = x + phi_2 * (data - datas[0]) * h / steps[0]
        elif datas:
            r0, r1 = steps[0] / h, steps[1] / h
            d0, d1 = (data - datas[0]) / r0, (datas[0] - datas[1]) / r1
            x = x + phi_2 * (d0 + (d0 - d1) * r0 / (r0 + r1)) - phi_3 * (d0 - d1) / (r0 + r1)
        datas, steps = [data, *datas][:2], [h, *steps][:2]
    return x


def seeds_2(denoise, x, sigmas, r=0.5, solver_type="phi_1"):
    """ComfyUI's seeds_2; k-diffusion's dpmpp_sde and dpmpp_2s_ancestral are r = 1/2 with phi_1."""
    for a, b in pairwise(sigmas):
        data = denoise(x, a)
        if b == 0:
            return data
        h = math.log(a / b)
        middle = a * math.exp(-r * h)
        data_2 = denoise(math.exp(-r * h) * x - math.expm1(-r * h) * data, middle)
        b2 = (math.expm1(-h) + h) / -h / r if solver_type == "phi_2" else math.expm1(-h) / (2 * r)
        x = math.exp(-h) * x - (math.expm1(-h) - b2) * data - b2 * data_2
    return x


def res_2s(denoise, x, sigmas, c2=0.5):
    """RES4LYF's tableau."""

    def phi(k, z):
        value = math.exp(z)
        for j in range(k):
            value = (value - 1 / math.factorial(j)) / z
        return value

    for a, b in pairwise(sigmas):
        data = denoise(x, a)
        if b == 0:
            return data
        h = math.log(a / b)
        x_2 = math.exp(-c2 * h) * x + h * c2 * phi(1, -c2 * h) * data
        data_2 = denoise(x_2, a * math.exp(-c2 * h))
        b2 = phi(2, -h) / c2
        x = math.exp(-h) * x + h * ((phi(1, -h) - b2) * data + b2 * data_2)
    return x


def res_multistep(denoise, x, sigmas):
    before = a_before = None
    for a, b in pairwise(sigmas):
        data = denoise(x, a)
        h = math.inf if b == 0 else math.log(a / b)
        if before is None or b == 0:
            x = x + (b - a) * (x - data) / a
        else:
            c2 = math.log(a / a_before) / h
            phi_1 = -math.expm1(-h) / h
            b2 = (1 - phi_1) / h / c2
            x = math.exp(-h) * x + h * ((phi_1 - b2) * data + b2 * before)
        before, a_before = data, a
    return x


def er_sde(denoise, x, sigmas, order=3, phi=lambda sigma: sigma):
    """ER-SDE-Solver with its noise left out; its integrals by quadrature. ``phi`` is the noise scale function."""
    datas: list[Tensor] = []
    slopes: list[Tensor] = []
    nodes: list[float] = []
    for a, b in pairwise(sigmas):
        data = denoise(x, a)
        if b == 0:
            return data
        r = phi(b) / phi(a)
        x = r * x + (1 - r) * data
        if datas and order > 1:
            by_data = (data - datas[0]) / (a - nodes[0])
            x = x + (b - a + phi(b) * quad(lambda u: 1 / phi(u), b, a, epsabs=1e-13)[0]) * by_data
            if slopes and order > 2:
                by_slope = (by_data - slopes[0]) / ((a - nodes[1]) / 2)
                integral = quad(lambda u, a=a: (u - a) / phi(u), b, a, epsabs=1e-13)[0]
                x = x + ((b - a) ** 2 / 2 + phi(b) * integral) * by_slope
            slopes = [by_data]
        datas, nodes = [data], [a, *nodes][:2]
    return x


def sa_solver(denoise, x, sigmas, predictor=3, corrector=4):
    """ComfyUI's sa_solver at eta = 0, with an evaluation a step, for sigmas that do not end at 0."""
    nodes: list[float] = []
    datas: list[Tensor] = []

    def adams(x, a, b, count):
        lambdas = [-math.log(sigma) for sigma in nodes[-count:]]
        begin, end = -math.log(a), -math.log(b)
        weights = [quad(lambda u, p=p: math.exp(u - end) * p(u), begin, end, epsabs=1e-13)[0] for p in polynomials(lambdas)]
        return b / a * x + sum(w * data for w, data in zip(weights, datas[-count:], strict=True))

    corrected = x
    for i, (a, b) in enumerate(pairwise(sigmas)):
        nodes, datas = [*nodes, a], [*datas, denoise(x, a)]
        if i:
            corrected = adams(corrected, sigmas[i - 1], a, min(corrector, i + 1))
        x = adams(corrected, a, b, min(predictor, i + 1))
    return x


def dpm_fast(noise, x, start, end, nfe):
    """k-diffusion's dpm_fast, from lambda = start to end; ``noise(x, sigma)`` is the noise prediction."""
    count = nfe // 3 + 1
    ends = np.linspace(start, end, count + 1).tolist()
    orders = [3] * (count - 2) + [2, 1] if nfe % 3 == 0 else [3] * (count - 1) + [nfe % 3]
    for order, (s, t) in zip(orders, pairwise(ends), strict=True):
        h = t - s
        eps = noise(x, math.exp(-s))

        def first(c, x=x, h=h, t=t, s=s, eps=eps):
            return x - math.exp(-s - c * h) * math.expm1(c * h) * eps

        if order == 1:
            x = first(1)
        elif order == 2:
            eps_1 = noise(first(1 / 2), math.exp(-s - h / 2))
            x = first(1) - math.exp(-t) * math.expm1(h) * (eps_1 - eps)
        else:
            eps_1 = noise(first(1 / 3), math.exp(-s - h / 3))
            sigma_2 = math.exp(-s - 2 * h / 3)
            x_2 = first(2 / 3) - sigma_2 * 2 * (math.expm1(2 * h / 3) / (2 * h / 3) - 1) * (eps_1 - eps)
            eps_2 = noise(x_2, sigma_2)
            x = first(1) - math.exp(-t) * 1.5 * (math.expm1(h) / h - 1) * (eps_2 - eps)
    return x


def stork_2(velocity, x, times, derivatives, s, rkg_times):
    """STORK-2 of its authors' code with every virtual stage, for equal steps in time."""

    def b(j):
        return {0: 1, 1: 1 / 3}.get(j) or 4 * (j - 1) * (j + 4) / (3 * j * (j + 1) * (j + 2) * (j + 3))

    def where(j):
        if rkg_times:
            return 6 / ((s + 4) * (s - 1)) if j == 1 else (j**2 + 3 * j - 4) / (s**2 + 3 * s - 4)
        return 4 / (3 * (s**2 + s - 2)) if j == 1 else (j**2 + j - 2) / (s**2 + s - 2)

    us: list[Tensor] = []
    for i, (begin, end) in enumerate(pairwise(times)):
        h = end - begin
        us = [velocity(begin, x), *us][:3]
        if i == 0:
            x = x + h * us[0]
        elif i < derivatives:
            x = x + h * (1.5 * us[0] - 0.5 * us[1])
        else:
            d1 = (us[0] - us[1]) / h if derivatives == 1 else (3 * us[0] - 4 * us[1] + us[2]) / (2 * h)
            d2 = 0 if derivatives == 1 else (us[0] - 2 * us[1] + us[2]) / h**2
            w = 6 / ((s + 4) * (s - 1))
            stages = [x, x + w * h * us[0]]
            for j in range(2, s + 1):
                mu = (2 * j + 1) * b(j) / (j * b(j - 1))
                nu = -(j + 1) * b(j) / (j * b(j - 2))
                gamma = -mu * w * (1 - j * (j + 1) * b(j - 1) / 2)
                c = where(j - 1) * h
                u = us[0] + c * d1 + c**2 / 2 * d2
                new = mu * stages[-1] + nu * stages[-2] + (1 - mu - nu) * x + h * (mu * w * u + gamma * us[0])
                stages.append(new)
            x = stages[-1]
    return x
