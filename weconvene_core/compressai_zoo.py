"""Released models in CompressAI's zoo and registry, for those who have that package; coding never imports it."""

from __future__ import annotations

import copy
from functools import partial

from weconvene_core.codec.api import load_model
from weconvene_core.errors import WeconveneError
from weconvene_core.model.presets import preset
from weconvene_core.model.weconvene import WeConvene
from weconvene_core.paths import checkpoints

TUNED_FOR = {"mse": "", "ms-ssim": "_msssim"}
"""CompressAI's name of a metric -> ending of the name of the checkpoint that was tuned for it."""


def register() -> None:
    """Make the models known to CompressAI, which is imported for that.

    The class is ``compressai.registry.MODELS["weconvene"]``; each trained model is in ``compressai.zoo.image_models``,
    ``lite`` as ``"weconvene-lite"``.

    Raises
    ------
    WeconveneError
        If CompressAI is not installed.
    """
    try:
        import compressai.zoo
        from compressai.registry import register_model
    except ModuleNotFoundError as error:
        raise WeconveneError(
            f"register() needs CompressAI, but there is no {error.name}: install compressai."
        ) from error

    register_model("weconvene")(WeConvene)
    tuned = tuple(ending for ending in TUNED_FOR.values() if ending)
    for name in (name for name in checkpoints() if not name.endswith(tuned)):
        entry = {f"weconvene-{name}": partial(model_at, name)}
        compressai.zoo.image_models.update(entry)
        compressai.zoo.models.update(entry)


def model_at(
    name: str, quality: float, metric: str = "mse", pretrained: bool = False, progress: bool = True
) -> WeConvene:
    """Return a model of the reader's own, with the signature of CompressAI's zoo.

    Parameters
    ----------
    name : of the model, ``lite`` for example.
    quality : from 0 to 7, what the model takes where no quality is given; one checkpoint serves all of them.
    metric : ``mse`` or ``ms-ssim``, what the weights were tuned for.
    pretrained : with the released weights; without, the preset's architecture as it is before training.
    progress : as in CompressAI; nothing is fetched, so nothing is shown.

    Raises
    ------
    WeconveneError
        If there is no such model, metric or quality.
    """
    if metric not in TUNED_FOR:
        raise WeconveneError(f"metric={metric!r} is unknown; use one of {', '.join(TUNED_FOR)}.")
    model = copy.deepcopy(load_model(name + TUNED_FOR[metric])) if pretrained else WeConvene(preset(name))
    model.default_quality = model.check_quality(quality)
    return model
