"""The models for ``torch.hub``, which reads this file from a checkout or from a repository's archive.

>>> import torch
>>> model = torch.hub.load("OWNER/REPOSITORY", "lite")  # doctest: +SKIP
>>> model = torch.hub.load("path/to/checkout", "lite", source="local")  # doctest: +SKIP

``model(x)`` takes images (B, 3, H, W) in [0, 1] and gives ``x_hat`` and ``likelihoods``, ``model.compress(x)`` gives
strings. ``quality`` is a real number from 0 (small) to 7 (fine).
"""

from torch import nn

dependencies = ["torch", "numpy", "PIL", "safetensors", "constriction", "platformdirs"]


def lite(pretrained: bool = True, quality: float = 3.0) -> nn.Module:
    """Return the released model, tuned for squared error."""
    return _model("lite", quality, pretrained)


def lite_msssim(pretrained: bool = True, quality: float = 3.0) -> nn.Module:
    """Return the released model as tuned for MS-SSIM."""
    return _model("lite", quality, pretrained, metric="ms-ssim")


def tiny(pretrained: bool = False, quality: float = 3.0) -> nn.Module:
    """Return the smallest architecture; it has no released weights (notebook 04 trains it in minutes)."""
    return _model("tiny", quality, pretrained)


def paper(pretrained: bool = False) -> nn.Module:
    """Return the architecture at the paper's size; it has no released weights."""
    return _model("paper", 3.0, pretrained)


def _model(name: str, quality: float, pretrained: bool, metric: str = "mse") -> nn.Module:
    from weconvene_core.compressai_zoo import model_at  # only now: before, torch.hub has not checked ``dependencies``

    return model_at(name, quality, metric, pretrained)
