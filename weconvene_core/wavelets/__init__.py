"""Wavelets: lifting tables, one-level lifting, and multi-level 2-D and 3-D transforms with named bands."""

from weconvene_core.wavelets.filters import SCHEMES, LiftingScheme, LiftingStep, Scaling, WaveletName, scheme
from weconvene_core.wavelets.lifting import dwt1d, idwt1d
from weconvene_core.wavelets.transform import Details, Pyramid, channel_matrix, dwt2d, dwt3d, idwt2d, idwt3d

__all__ = [
    "SCHEMES", "Details", "LiftingScheme", "LiftingStep", "Pyramid", "Scaling", "WaveletName",
    "channel_matrix", "dwt1d", "dwt2d", "dwt3d", "idwt1d", "idwt2d", "idwt3d", "scheme",
]  # fmt: skip
