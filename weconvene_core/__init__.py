"""An open, runnable companion of 3DM-WeConvene (arXiv 2504.04658): wavelet-domain learned image compression.

>>> from weconvene_core import decode, encode
>>> data = encode("photo.png", quality=3)  # doctest: +SKIP
>>> decode(data).save("back.png")  # doctest: +SKIP

Importing it also teaches Pillow the format: ``Image.open("photo.wcv")``, ``image.save("photo.wcv", quality=3)``.
"""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

from weconvene_core.codec import pillow_plugin
from weconvene_core.moved import Moved
from weconvene_core.version import VERSION as __version__

if TYPE_CHECKING:
    from weconvene_core.codec.api import decode, encode, load_model
    from weconvene_core.compressai_zoo import register

# CompressAI compiles with torch.jit on import; its deprecation is nothing that a reader of this package can act on.
warnings.filterwarnings("ignore", message=".*torch.jit.script.* is deprecated", category=FutureWarning)

sys.meta_path.append(Moved())
pillow_plugin.register()  # which loads neither torch nor numpy

__all__ = ["__version__", "decode", "encode", "load_model", "register"]


def __getattr__(name: str) -> Any:
    if name in ("decode", "encode", "load_model"):
        from weconvene_core.codec import api

        return getattr(api, name)
    if name == "register":
        from weconvene_core.compressai_zoo import register

        return register
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
