"""Integrators of the probability-flow ODE on the group, each as one table that every sampler can follow.

The ODE is dR/dsigma = -R hat(s(R, sigma)). Every integrator here is a chain of n evaluations,

    R_{k+1} = R_k Exp(sum_m C_km s_m) Exp(sum_m B_km s_m),    s_k = s(R_k, level_k),    m <= k,

so that they can be solved one after another or all at once (`ode`, `picard`, `newton`). C revises the point at which
the score was taken (a corrector, or the way back to where a stage began), B advances it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lie_picard import so3
from lie_picard.sampling.noise import NoiseSchedule


@dataclass(frozen=True, eq=False)
class Scheme:
    """The table of an integrator on a noise schedule.

    Attributes:
        level: (n,) step of the schedule at which each evaluation takes the score.
        sigmas: (n,) its noise level in radians.
        weights: (n, 2, h) factors, in radians, of the last h scores, the current one last: rows C and B.
        score_slope: (h,) factors of the last h scores that give the change of the score per e-fold of noise at the end.
            Along a path that has found its pose the score is constant.
        revises: whether any C is not zero.
    """

    level: Tensor
    sigmas: Tensor
    weights: Tensor
    score_slope: Tensor
    revises: bool

    @property
    def evaluations(self) -> int:
        """Number n of evaluations a sample."""
        return len(self.level)

    @property
    def history(self) -> int:
        """Number h of scores that a step uses, the current one included."""
        return self.weights.shape[-1]

    def increments(self, weights: Tensor, scores: Tensor, extra: Tensor | None = None) -> Tensor:
        """Exp(C s) Exp(B s + extra): rows `weights` (..., 2, h), last scores (..., h, 3), tangents `extra` (..., 3)."""
        if self.revises:
            tangents = weights @ scores
            if extra is not None:
                tangents = tangents + torch.stack([torch.zeros_like(extra), extra], -2)
            revision, advance = so3.exp(tangents).unbind(-3)
            return revision @ advance
        advance = (weights[..., 1:, :] @ scores).squeeze(-2)
        return so3.exp(advance if extra is None else advance + extra)

    def to(self, like: Tensor) -> Scheme:
        """The same table with the device and type of a tensor of rotations."""
        if self.weights.device == like.device and self.weights.dtype == like.dtype:
            return self
        return replace(
            self,
            level=self.level.to(like.device),
            sigmas=self.sigmas.to(like),
            weights=self.weights.to(like),
            score_slope=self.score_slope.to(like),
        )


def euler(noise: NoiseSchedule) -> Scheme:
    """One evaluation a step: B_kk = (sigma_k^2 - sigma_{k+1}^2) / (2 sigma_k), the paper's Eq. 12."""
    eye = torch.eye(noise.steps, dtype=torch.float64)
    advance = eye * noise.drift.double()[:, None]
    score_slope = torch.zeros(noise.steps, dtype=torch.float64)
    if noise.steps > 1:
        score_slope = (eye[-1] - eye[-2]) / _ratio(noise.sigmas[-2:]).log()
    return _scheme(torch.arange(noise.steps), noise, torch.zeros_like(advance), advance, score_slope)


def flow_map(noise: NoiseSchedule) -> Scheme:
    """Steps of a flow map (`model.flow_map`): B_kk = sigma_k - sigma_{k+1}, as its score is the mean along the way."""
    eye = torch.eye(noise.steps, dtype=torch.float64)
    sigmas = noise.sigmas.double()
    advance = eye * (sigmas - torch.cat([sigmas[1:], sigmas.new_zeros(1)]))[:, None]
    slope = torch.zeros(noise.steps, dtype=torch.float64)
    if noise.steps > 1:
        slope = (eye[-1] - eye[-2]) / _ratio(sigmas[-2:]).log()
    return _scheme(torch.arange(noise.steps), noise, torch.zeros_like(advance), advance, slope)


def heun(noise: NoiseSchedule) -> Scheme:
    """Heun's method in sigma (Karras et al., 2022, algorithm 1; on a group: Runge-Kutta-Munthe-Kaas of order 2).

    Two evaluations a step but the last: an Euler step to the next level, whose score then enters half.
    """
    sigmas, last = noise.sigmas.double(), noise.steps - 1
    level = torch.arange(1, 2 * last + 2) // 2  # 0, 1, 1, 2, 2 ...: a stage is at the level of the next step
    eye = torch.eye(len(level), dtype=torch.float64)
    revise, advance = torch.zeros_like(eye), torch.zeros_like(eye)
    for step in range(last):
        size, first, second = sigmas[step] - sigmas[step + 1], eye[2 * step], eye[2 * step + 1]
        advance[2 * step] = size * first
        revise[2 * step + 1] = -size * first
        advance[2 * step + 1] = size / 2 * (first + second)
    advance[-1] = sigmas[-1] * eye[-1]
    score_slope = torch.zeros(len(level), dtype=torch.float64)
    if last:
        score_slope = (eye[-1] - eye[-3]) / _ratio(sigmas[-2:]).log()
    return _scheme(level, noise, revise, advance, score_slope)


def multistep(noise: NoiseSchedule, prior: float | None = None) -> Scheme:
    """Second-order multistep predictor and corrector in log sigma with one evaluation a step.

    From sigma_i to sigma_j, h = log(sigma_i / sigma_j), with the score linear in log sigma, s + t log(sigma_i / sigma):

        tangent = (sigma_i - sigma_j) s_i + sigma_j (e^h - 1 - h) t.

    The predictor takes t from the step before. The score at the predicted point gives a new t, hence a corrected
    point. The denoised rotation that was found there is kept, so the score at the corrected point is the one found
    less correction / sigma_j; no second evaluation is needed (cf. UniPC, Zhao et al., 2023).

    Args:
        prior: noise level of the start above the first of the schedule, radians, where samples are uniform and the
            score is zero; None: the start belongs to the first level.
    """
    sigmas, steps = noise.sigmas.double(), noise.steps
    eye = torch.eye(steps, dtype=torch.float64)
    revise, advance = torch.zeros_like(eye), torch.zeros_like(eye)
    # All that follows is linear in the scores, so each quantity is a row of factors.
    score, score_slope = torch.zeros_like(eye[0]), torch.zeros_like(eye[0])
    above = sigmas[0] if prior is None else torch.tensor(prior, dtype=torch.float64)
    predicted = torch.zeros_like(eye[0])
    for k in range(steps):
        here = sigmas[k]
        if here < above:
            h = (above / here).log()
            straight, bend = (above - here) * score, here * (h.exp() - 1 - h)
            correction = straight + bend * (eye[k] - score) / h - predicted
            found = eye[k] - correction / here
            score_slope, score, revise[k] = (found - score) / h, found, correction
        else:
            score = eye[k]
        if k + 1 < steps:
            h = _ratio(sigmas[k : k + 2]).log()
            predicted = (here - sigmas[k + 1]) * score + sigmas[k + 1] * (h.exp() - 1 - h) * score_slope
            advance[k] = predicted
        else:
            advance[k] = here * score
        above = here
    return _scheme(torch.arange(steps), noise, revise, advance, score_slope)


INTEGRATORS: dict[str, Callable[[NoiseSchedule], Scheme]] = {"euler": euler, "heun": heun, "multistep": multistep}


def _ratio(pair: Tensor) -> Tensor:
    return pair[0].double() / pair[1].double()


def _scheme(level: Tensor, noise: NoiseSchedule, revise: Tensor, advance: Tensor, score_slope: Tensor) -> Scheme:
    """Keep of each row only the band of last scores that any row uses."""
    rows = torch.stack([revise, advance], 1)  # (n, 2, n)
    count = len(level)
    used = (rows != 0).any(1) | (score_slope != 0) & (torch.arange(count)[:, None] == count - 1)
    age = torch.arange(count)[:, None] - torch.arange(count)
    history = int(torch.where(used, age, 0).max()) + 1
    band = torch.zeros(count, 2, history, dtype=torch.float64)
    for k in range(count):
        width = min(k + 1, history)
        band[k, :, history - width :] = rows[k, :, k + 1 - width : k + 1]
    last = torch.zeros(history, dtype=torch.float64)
    width = min(count, history)
    last[history - width :] = score_slope[count - width :]
    return Scheme(level, noise.sigmas[level].double(), band, last, bool(revise.any()))
