"""A wavelet that training may change: lifting coefficients as parameters, perfect reconstruction by construction."""

from __future__ import annotations

import torch
from torch import nn

from weconvene_core.errors import WeconveneError
from weconvene_core.wavelets.lifting_schemes import LiftingScheme, LiftingStep, Tap, Wavelet, scheme


class LearnableLifting(nn.Module):
    """The lifting steps of a classical wavelet with trainable coefficients and gains.

    Each step can be undone exactly whatever the values become, so the transform stays invertible. Taps that are equal
    at the start share a parameter, so a symmetric (linear-phase) wavelet stays symmetric. Pass :meth:`scheme` wherever
    a wavelet is expected, afresh for every forward pass::

        lifting = LearnableLifting("9/7")
        pyramid = dwt2d(x, lifting.scheme(), levels=2)

    Parameters
    ----------
    initial : the wavelet to start from.

    Raises
    ------
    WeconveneError
        For an unknown wavelet, or an integer one, whose rounding has no gradient.
    """

    def __init__(self, initial: Wavelet = "5/3") -> None:
        super().__init__()
        self.initial = scheme(initial)
        if self.initial.integer:
            raise WeconveneError(f"wavelet={self.initial.name!r} rounds and cannot be learnt; start from 5/3 instead.")
        distinct = [sorted({float(tap.coefficient) for tap in step.taps}) for step in self.initial.steps]
        pairs = zip(distinct, self.initial.steps, strict=True)
        self._places = [[values.index(tap.coefficient) for tap in step.taps] for values, step in pairs]
        self.coefficients = nn.ParameterList(torch.tensor(values) for values in distinct)
        gains = torch.tensor([self.initial.low_gain, self.initial.high_gain])
        self._signs = [1.0 if gain > 0 else -1.0 for gain in gains]
        self.log_gains = nn.Parameter(gains.abs().log())

    def scheme(self) -> LiftingScheme:
        """Return the lifting scheme with the present values, through which gradients flow."""
        steps = tuple(
            LiftingStep(step.target, tuple(Tap(t.offset, values[i]) for t, i in zip(step.taps, places, strict=True)))
            for step, values, places in zip(self.initial.steps, self.coefficients, self._places, strict=True)
        )
        low, high = (gain * sign for gain, sign in zip(self.log_gains.exp(), self._signs, strict=True))
        return LiftingScheme(f"learnt {self.initial.name}", steps, low, high, self.initial.border)
