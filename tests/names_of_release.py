"""What release 0.2.0 called the tensors of today: numbers were recorded with weights from formulas over these names."""

from __future__ import annotations

import re

OLD_NAMES = {
    r"^(gain_[lh]f)\.gain\.": r"\1.up.",
    r"^(gain_[lh]f)\.inverse_gain\.": r"\1.down.",
    r"^g_s\.from_shortcut\.": "g_s.look.",
    r"^charm\.(ll_)?slices\.": r"charm.\1networks.",
}


def name_in_release(name: str) -> str:
    """Return the earlier name of a tensor."""
    for new, old in OLD_NAMES.items():
        name = re.sub(new, old, name)
    return name
