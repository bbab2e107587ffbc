"""The laboratory's own commands, in ``notebooks/``: ``python -m lab evaluate | certify``."""

from __future__ import annotations

import argparse
import sys

from lab.rd.curves import MEAN, MEASURED
from lab.rd.measure import measure
from lab.rd.our_codec import FileCodec
from lab.rd.published_curves import anchors_of
from lab.rd.tables import bd_table
from lab.reproduce import certificate
from weconvene_core.cli.main import quality_number
from weconvene_core.datasets.image_sets import image_set
from weconvene_core.errors import WeconveneError
from weconvene_core.paths import checkpoint


def main() -> int:
    """Run one command and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lab", description="Measure a model, and judge the claims.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    one = commands.add_parser("evaluate", help="measure rate and distortion on an image set")
    one.add_argument("--set", default="kodak", help="name of the image set (default: %(default)s)")
    one.add_argument("--model", default="lite", help="name of a trained model (default: %(default)s)")
    one.add_argument("--qualities", type=quality_number, nargs="+", metavar="Q", default=[0, 1, 2, 3, 4, 5, 6, 7])
    one.set_defaults(run=evaluate)
    certify = commands.add_parser("certify", help="compare what was obtained with what is claimed")
    certify.set_defaults(run=lambda arguments: certificate.certify())
    arguments = parser.parse_args()
    try:
        return arguments.run(arguments)
    except WeconveneError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


def evaluate(arguments: argparse.Namespace) -> int:
    """Print the means over the set, and the BD-rates against VTM where the set has a published anchor."""
    checkpoint(arguments.model)
    images = image_set(arguments.set)
    qualities = sorted(set(arguments.qualities))
    points = measure(FileCodec(arguments.model), arguments.model, images, qualities)
    print(f"{arguments.model} on {images.label}, means over the images:")
    means = points[points.image == MEAN][["quality", *MEASURED]]
    print(means.to_string(index=False, float_format="%.4f"))
    primary = anchors_of(images.name)[:1]
    if primary and len(qualities) >= 4:
        table = bd_table(points, primary)
        shown = table[["anchor", "method", "bd_rate_pct", "low_db", "high_db"]]
        print(shown.to_string(index=False, float_format="%.2f"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
