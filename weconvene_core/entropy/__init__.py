"""Entropy model: slices, 3DWeChARM, and the range coder that turns them into bytes."""

from weconvene_core.entropy.charm import SliceLayout, WaveletCharm
from weconvene_core.entropy.coding_steps import DecodeMode, EncodeMode, InteriorMode, LikelihoodMode, tables_of
from weconvene_core.entropy.distributions import LIKELIHOODS, coding_tables, laplace_likelihood
from weconvene_core.entropy.slices import SliceNetwork, SplitSliceNetwork

__all__ = [
    "LIKELIHOODS", "DecodeMode", "EncodeMode", "InteriorMode", "LikelihoodMode", "SliceLayout", "SliceNetwork",
    "SplitSliceNetwork", "WaveletCharm", "coding_tables", "laplace_likelihood", "tables_of",
]  # fmt: skip
