"""Entropy model: slices, 3DWeChARM, and the range coder that turns them into bytes."""

from weconvene_core.entropy.charm import SliceLayout, WaveletCharm
from weconvene_core.entropy.laplace import LIKELIHOODS, coding_tables, laplace_likelihood
from weconvene_core.entropy.slices import SliceNetwork, SplitSliceNetwork
from weconvene_core.entropy.steps import Estimate, InCore, Read, Write, tables_of

__all__ = [
    "LIKELIHOODS", "Estimate", "InCore", "Read", "SliceLayout", "SliceNetwork", "SplitSliceNetwork", "WaveletCharm",
    "Write", "coding_tables", "laplace_likelihood", "tables_of",
]  # fmt: skip
