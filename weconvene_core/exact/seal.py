"""What is fixed when a checkpoint is sealed: the grids of its activations, its thresholds, and its wavelets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from weconvene_core.entropy.charm import LL_WAVELET, WaveletCharm
from weconvene_core.entropy.distributions import SCALE_LEVELS, scale_table
from weconvene_core.entropy.slices import LRP_RANGE
from weconvene_core.errors import WeconveneError
from weconvene_core.exact.fixed_point import Grids
from weconvene_core.exact.hyper_synthesis import ExactHyperSynthesis, HyperSynthesisLike
from weconvene_core.exact.integer_lifting import integer_lifting, lifting_of
from weconvene_core.exact.slice_networks import TANH_BITS, TANH_LIMIT, THRESHOLD_BITS, Y_BITS, ExactCharm

ARITHMETIC = 2  # a change of what the integers do needs another number
MOST_BITS = 24  # of a grid, above or below the point


@dataclass(frozen=True)
class Seal:
    """All numbers of the exact path that are not weights; plain integers, so that nothing is computed from them.

    Attributes
    ----------
    grids : bits below the point of every activation grid, by name; None while they are being measured.
    wavelets : lifting steps by wavelet (see :mod:`.exact_lifting`).
    thresholds, tanh : see :class:`ExactSliceNetwork`.
    """

    grids: Mapping[str, int] | None
    wavelets: Mapping[str, Any]
    thresholds: tuple[int, ...]
    tanh: tuple[int, ...]
    arithmetic: int = ARITHMETIC

    @classmethod
    def draft(cls, wavelet: str) -> Seal:
        """Everything that needs no measurement, for an h_s with this wavelet."""
        wavelets = {name: integer_lifting(name) for name in {wavelet, LL_WAVELET}}
        return cls(None, wavelets, scale_thresholds(), tanh_thresholds())

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Seal:
        """Build a seal from JSON values.

        Raises
        ------
        WeconveneError
            If they are no seal of this release.
        """
        if values.get("arithmetic") != ARITHMETIC:
            raise WeconveneError(
                f"The checkpoint was sealed with arithmetic {values.get('arithmetic')!r}, here is {ARITHMETIC}: "
                "use a matching release, or seal it again."
            )
        try:
            seal = cls(
                dict(values["grids"]), dict(values["wavelets"]), tuple(values["thresholds"]), tuple(values["tanh"])
            )
            sound = seal._is_sound()
        except (KeyError, TypeError, ValueError, AttributeError):
            sound = False
        if not sound:
            raise WeconveneError("The checkpoint's seal is damaged: fetch the checkpoint, or seal it, again.")
        return seal

    def _is_sound(self) -> bool:
        assert self.grids is not None
        taps = [tap for entry in self.wavelets.values() for _, taps in entry["steps"] for tap in taps]
        gains = [gain for entry in self.wavelets.values() for gain in entry["gains"]]
        integers = (*self.grids.values(), *self.thresholds, *self.tanh, *gains, *(n for tap in taps for n in tap))
        return (
            all(type(n) is int and abs(n) < 1 << 30 for n in integers)
            and all(abs(bits) <= MOST_BITS for bits in self.grids.values())
            and len(self.thresholds) == SCALE_LEVELS - 1
            and all(list(numbers) == sorted(numbers) for numbers in (self.thresholds, self.tanh))
            and all(target in ("low", "high") for entry in self.wavelets.values() for target, _ in entry["steps"])
            and all(entry["border"] in ("reflect", "zero") for entry in self.wavelets.values())
        )


def exact_networks(
    h_s: HyperSynthesisLike, charm: WaveletCharm, wavelet: str, seal: Seal
) -> tuple[ExactHyperSynthesis, ExactCharm, Grids]:
    """Build both networks of the exact path from the trained ones; the grids note peaks where the seal is a draft.

    Raises
    ------
    WeconveneError
        If a sum may need more bits than float64 has, or the seal belongs to another architecture.
    """
    missing = {wavelet, LL_WAVELET} - set(seal.wavelets)
    if missing:
        raise WeconveneError(f"The checkpoint's seal has no wavelet {', '.join(sorted(missing))}: seal it again.")
    grids = Grids(seal.grids)
    liftings = {name: lifting_of(name, entry) for name, entry in seal.wavelets.items()}
    hyper = ExactHyperSynthesis(h_s, grids, liftings[wavelet])
    ll = liftings[LL_WAVELET], seal.wavelets[LL_WAVELET]["gains"]
    return hyper, ExactCharm(charm, hyper.outputs, grids, seal.thresholds, seal.tanh, *ll), grids


def scale_thresholds() -> tuple[int, ...]:
    """Return where the nearest table changes, as raw scales (softplus is monotone), in units of 2^-16."""
    table = scale_table()
    borders = [math.sqrt(low * high) for low, high in zip(table, table[1:], strict=False)]
    return tuple(round(math.log(math.expm1(border)) * 2**THRESHOLD_BITS) for border in borders)


def tanh_thresholds() -> tuple[int, ...]:
    """Return, for k = 1, 2, ..., the argument in units of 1/256 from which the correction is k / 256 steps or more."""
    largest, found = round(LRP_RANGE * 2**Y_BITS), []
    for k in range(1, largest + 1):
        argument = math.ceil(math.atanh((k - 0.5) / largest) * 2**TANH_BITS)
        if argument <= TANH_LIMIT << TANH_BITS:
            found.append(argument)
    return tuple(found)
