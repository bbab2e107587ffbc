"""The laboratory's own commands, in ``notebooks/``: ``python -m lab evaluate | certify``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from lab.rd.compressai_results import results_json
from lab.rd.curves import MEAN, MEASURED
from lab.rd.measure import measure
from lab.rd.our_codec import FileCodec
from lab.rd.published_curves import anchors_of
from lab.rd.tables import bd_table
from lab.reproduce import certificate
from weconvene_core.atomic_files import write_text
from weconvene_core.cli.main import quality_number
from weconvene_core.datasets.image_sets import image_set
from weconvene_core.errors import WeconveneError
from weconvene_core.paths import checkpoint

EXAMPLES = """examples:
  python -m lab evaluate --set kodak
  python -m lab evaluate --set kodak --qualities 1 3 6 --output points.csv lite.json"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lab", description="Measure a model, and judge the claims.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    raw = argparse.RawDescriptionHelpFormatter
    said = "measure rate and distortion on an image set"
    one = commands.add_parser("evaluate", help=said, epilog=EXAMPLES, formatter_class=raw)
    one.add_argument("--set", default="kodak", help="name of the image set (default: %(default)s)")
    one.add_argument("--model", default="lite", help="name of a trained model (default: %(default)s)")
    one.add_argument("--qualities", type=quality_number, nargs="+", metavar="Q", default=[0, 1, 2, 3, 4, 5, 6, 7])
    said = "also write FILE.csv (every image) or FILE.json (the means, in CompressAI's form)"
    one.add_argument("--output", type=Path, nargs="+", metavar="FILE", default=[], help=said)
    one.add_argument("--force", action="store_true", help="replace what exists")
    one.set_defaults(run=evaluate)
    certify = commands.add_parser("certify", help="compare what was obtained with what is claimed")
    certify.set_defaults(run=lambda arguments: certificate.certify())
    arguments = parser.parse_args(argv)
    try:
        return arguments.run(arguments)
    except WeconveneError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


def evaluate(arguments: argparse.Namespace) -> int:
    """Print the means over the set, and the BD-rates against VTM where the set has a published anchor."""
    checkpoint(arguments.model)
    for path in arguments.output:  # before the work
        if path.suffix not in (".csv", ".json"):
            raise WeconveneError(f"{path} is neither a .csv nor a .json file: name it as one.")
        if path.exists() and not arguments.force:
            raise WeconveneError(f"{path} exists already: choose another name, or replace it with --force.")
    images = image_set(arguments.set)
    qualities = sorted(set(arguments.qualities))
    points = measure(FileCodec(arguments.model), arguments.model, images, qualities)
    print(f"{arguments.model} on {images.label}, means over the images:")
    means = points[points.image == MEAN][["quality", *MEASURED]]
    print(means.to_string(index=False, float_format="%.4f"))
    for path in arguments.output:
        means_json = json.dumps(results_json(points, arguments.model, images.name), indent=2) + "\n"
        table = points.to_csv(index=False, float_format="%.6f", lineterminator="\n")
        write_text(path, table if path.suffix == ".csv" else means_json)
    primary = anchors_of(images.name)[:1]
    if primary and len(qualities) >= 4:
        table = bd_table(points, primary)
        shown = table[["anchor", "method", "bd_rate_pct", "low_db", "high_db"]]
        print(shown.to_string(index=False, float_format="%.2f"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
