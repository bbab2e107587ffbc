"""Import paths of release 0.2: each gets an ImportError that names the new place. This goes with release 1.1."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

LABORATORY = ("applications", "evaluation", "figures", "reproduce")
LABORATORY += ("layers.reach", "wavelets.factor", "wavelets.gains", "wavelets.learnable")
PLACES = """
    bands:model.transforms checkpoint:model.checkpoint config:model.config config_checks:model.config
    commands:cli.commands file_commands:cli.commands files:atomic_files inputs:image_tensors
    presets:model.presets transforms:model.transforms
    codec.checkpoints:model.checkpoint codec.grid:codec.tile_grid codec.images:codec.pictures
    codec.latents:codec.tile_coder codec.refining:codec.latent_refinement codec.sealing:exact.calibrate
    codec.tiles:codec.tile_coder codec.files:codec.pictures codec.lossless:codec.pictures
    codec.analysis:codec.tile_coder codec.effort:codec.latent_refinement codec.floor:codec.plain_coding
    codec.orientation:codec.pictures codec.streams:codec.container
    entropy.coder:entropy.range_coder entropy.coder_tables:entropy.cdf_tables
    entropy.colours:entropy.slices entropy.exact:exact.fixed_point entropy.laplace:entropy.distributions
    entropy.exact_hyper:exact.hyper_synthesis entropy.exact_lifting:exact.integer_lifting
    entropy.exact_seal:exact.fixed_point entropy.exact_slices:exact.slice_networks
    entropy.exact_winograd:exact.fixed_point entropy.coder_backends:entropy.range_coder
    entropy.packed_tables:entropy.cdf_tables entropy.phases:entropy.charm
    entropy.steps:entropy.coding_steps layers.attention:layers.window_attention
    layers.convert:layers.convert_network layers.rate_table:layers.blocks
    layers.shortcut:layers.wavelet_shortcut training.data:training.images training.guard:training.safeguards
    training.interrupts:training.safeguards training.loop:training.trainer training.parallel:training.distributed
    training.objective:training.losses training.reporting:training.log training.run:training.trainer
    training.runlog:training.log training.sampling:training.images training.schedule:training.config
    wavelets.axis:wavelets.dwt wavelets.pyramid:wavelets.dwt wavelets.eager:wavelets.lifting
    wavelets.filters:wavelets.lifting_schemes wavelets.functional:wavelets.lifting
    wavelets.operator:wavelets.lifting wavelets.plan:wavelets.lifting_plan wavelets.transform:wavelets.dwt
"""
MOVED = dict(pair.split(":") for pair in PLACES.split())


class Moved:
    """The last of ``sys.meta_path``: it is asked only for modules that nobody else has found."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return None, which lets the import fail as usual, unless ``name`` is an old path.

        Raises
        ------
        ImportError
            For an old path; it names the new one.
        """
        package, _, rest = name.partition(".")
        if package != __package__:
            return None
        if rest in MOVED:
            raise ImportError(f"{name} is {package}.{MOVED[rest]} since release 1.0.", name=name)
        if any(f"{rest}.".startswith(f"{room}.") for room in LABORATORY):
            raise ImportError(f"{name} has left the package: it is in the folder notebooks/lab.", name=name)
        return None
