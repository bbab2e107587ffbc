"""What the pages show runs as it stands there."""

from __future__ import annotations

import re

import pytest
import torch

from lab.paths import ROOT

BLOCKS = re.findall(r"```python\n(.+?)```", (ROOT / "docs" / "using.md").read_text(encoding="utf-8"), re.DOTALL)


def test_the_entropy_model_alone_gives_back_what_it_wrote() -> None:
    (block,) = [block for block in BLOCKS if "SliceLayout" in block]
    names: dict[str, object] = {}
    exec(block, names)
    pairs = zip(names["decoded"], (names["lf_hat"], names["hf_hat"]), strict=True)
    assert all(torch.equal(own, other) for own, other in pairs)
    written = sum(map(len, names["streams"].values()))
    assert written == pytest.approx(float(names["bits"]) / 8, rel=0.2)
