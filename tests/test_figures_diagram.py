"""The block diagrams: every shape in them is that of the network."""

from __future__ import annotations

import pytest
import torch
from matplotlib.patches import FancyArrowPatch

from lab.figures import diagram
from weconvene_core.entropy.charm import SliceLayout
from weconvene_core.model.presets import PRESETS, preset
from weconvene_core.model.weconvene import WeConvene


def words(figure: object) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


@pytest.mark.parametrize("name", ["tiny", "baseline"])
def test_shapes_are_those_that_the_network_makes(name: str) -> None:
    config = preset(name)
    model, made = WeConvene(config).eval(), {}
    model.g_a.register_forward_hook(lambda *call: made.update(y=call[-1]))
    model.h_a.register_forward_hook(lambda *call: made.update(z=call[-1]))
    model.h_s.register_forward_hook(lambda *call: made.update(hyper=call[-1][-1]))
    x, quality = torch.rand(1, 3, 128, 256), torch.tensor([3.0])
    with torch.no_grad():
        made["lf"], made["hf"] = model.analyse(x, quality)
        made["z"] = model.h_a(torch.cat([made["lf"], made["hf"]], 1))
        model.h_s(made["z"], quality)
    shapes = diagram.codec_shapes(config, 128, 256)
    assert shapes == {"x": (3, 128, 256)} | {key: tuple(value.shape[1:]) for key, value in made.items()}


@pytest.mark.parametrize("config", PRESETS.values(), ids=PRESETS)
def test_the_codec_has_a_chip_for_every_slice(config) -> None:
    said = words(diagram.codec_diagram(config, ("charm",)))
    for channels in {*config.layout.lf, *config.layout.hf}:
        assert said.count(str(channels)) == [*config.layout.lf, *config.layout.hf].count(channels)
    assert config.shortcut == ("wavelet shortcut [ours]" in said)


def test_only_boxes_that_are_there_can_be_lit() -> None:
    with pytest.raises(KeyError):
        diagram.codec_diagram(preset("baseline"), ("hf",))


def test_a_slice_sees_what_was_coded_before_it() -> None:
    figure = diagram.context_diagram(SliceLayout((12, 12), (48, 48)), (1, 3))
    arrows = [patch for patch in figure.axes[0].patches if isinstance(patch, FancyArrowPatch)]
    assert len(arrows) == 2 + 4
    assert words(figure).count("HF 2") == 2


def test_each_pass_has_as_many_known_neighbours_as_it_says() -> None:
    counts = [word for word in words(diagram.polyphase_diagram()) if word.startswith("pass")]
    assert counts == [f"pass {i}: {seen} of 8 neighbours" for i, seen in enumerate((0, 4, 4, 8), 1)]
