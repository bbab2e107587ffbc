"""Wavelets: lifting schemes, lifting along any axis, and multi-level 2-D and 3-D transforms with named bands."""

from weconvene_core.wavelets.dwt import AxisDWT, Details, Pyramid, dwt1d, dwt2d, dwt3d, idwt1d, idwt2d, idwt3d
from weconvene_core.wavelets.lifting_plan import Mode
from weconvene_core.wavelets.lifting_schemes import SCHEMES, LiftingScheme, LiftingStep, Scaling, Tap, Wavelet, scheme

__all__ = [
    "SCHEMES", "AxisDWT", "Details", "LiftingScheme", "LiftingStep", "Mode", "Pyramid", "Scaling", "Tap", "Wavelet",
    "dwt1d", "dwt2d", "dwt3d", "idwt1d", "idwt2d", "idwt3d", "scheme",
]  # fmt: skip
