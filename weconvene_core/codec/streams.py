"""Between the streams of blocks and tiles and their order in a file."""

from __future__ import annotations

from weconvene_core.codec.container import Container, CutFileError, PartialFile
from weconvene_core.codec.tile_grid import TileGroup
from weconvene_core.codec.tile_streams import TileGroupStreams, TileStreams


def in_file_order(header: Container, found: list[TileGroupStreams], beside: list[bytes]) -> tuple[bytes, ...]:
    """Bring the streams into the file's order."""
    tiles: dict[tuple[int, int], TileStreams] = {}
    for block, streams in zip(header.parts, found, strict=True):
        for (row, column), tile in zip(block.places, streams.tiles, strict=True):
            tiles[block.first_row + row, block.first_column + column] = tile
    ordered = [tiles[place] for place in sorted(tiles)]
    y_ll = [streams.y_ll for streams in found if streams.y_ll is not None]
    z, y_lf, y_hf = [s.z for s in found], [tile.y_lf for tile in ordered], [tile.y_hf for tile in ordered]
    return (*z, *y_ll, *y_lf, *beside, *y_hf)


def by_block(prefix: PartialFile) -> list[TileGroupStreams]:
    """Sort the streams by block and tile; LL, LF and HF may be cut or missing, z must be there."""
    container = prefix.container
    z, y_ll, y_lf, y_hf = (container.of(kind) for kind in ("z", "y_ll", "y_lf", "y_hf"))
    if len(z) < container.blocks:
        raise CutFileError("The file is cut inside its hyperprior: there is no preview yet; get a fresh copy.")
    parts = {"y_ll": y_ll, "y_lf": y_lf, "y_hf": y_hf}
    there = {kind: len(streams) for kind, streams in parts.items()}
    for kind, streams in parts.items():
        if not prefix.complete and container.kinds[len(container.streams)] == kind:
            streams.append(prefix.cut)
        streams += [b""] * (container.kinds.count(kind) - len(streams))

    def of_tile(block: TileGroup, place: tuple[int, int]) -> TileStreams:
        i = (block.first_row + place[0]) * container.grid[1] + block.first_column + place[1]
        return TileStreams(y_lf[i], y_hf[i], frozenset(kind for kind in ("y_lf", "y_hf") if i >= there[kind]))

    found = []
    for i, block in enumerate(container.parts):
        tiles = tuple(of_tile(block, place) for place in block.places)
        found.append(TileGroupStreams(z[i], y_ll[i] if y_ll else None, tiles, cut=i >= there["y_ll"]))
    return found
