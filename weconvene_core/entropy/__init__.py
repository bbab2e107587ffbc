"""Entropy model: slices, 3DWeChARM, and the range coder that turns them into bytes."""

from weconvene_core.entropy.charm import SliceLayout, WaveletCharm
from weconvene_core.entropy.coding_steps import DecodeMode, EncodeMode, InteriorMode, LikelihoodMode
from weconvene_core.entropy.distributions import LIKELIHOODS, ConditionalTables, FactorisedPrior, laplace_likelihood
from weconvene_core.entropy.slices import SliceNetwork, SplitSliceNetwork

__all__ = [
    "LIKELIHOODS", "ConditionalTables", "DecodeMode", "EncodeMode", "FactorisedPrior", "InteriorMode",
    "LikelihoodMode", "SliceLayout", "SliceNetwork", "SplitSliceNetwork", "WaveletCharm", "laplace_likelihood",
]  # fmt: skip
