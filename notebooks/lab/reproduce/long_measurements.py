"""The long measurements, which have commands of their own: notebooks show their tables in every mode and make none.

``python -m lab.reproduce.long_measurements [NAME...]`` (``make evidence``) makes the tables again, one measurement
after the other; what a command finds finished or in its cache it does not repeat.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from weconvene_core.errors import WeconveneError
from weconvene_core.paths import NOTEBOOKS

PACKAGE = "lab"


@dataclass(frozen=True)
class Measurement:
    """A module of the evaluation with its arguments, the tables that it writes, and what it takes on two cores."""

    module: str
    tables: tuple[str, ...]
    cost: str
    arguments: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """What to type in the project's folder."""
        return " ".join(["python -m", f"{PACKAGE}.{self.module}", *self.arguments])


MEASUREMENTS: tuple[Measurement, ...] = (
    Measurement("recipe", ("recipe.csv", "recipe_points.csv"), "an hour and more"),
    Measurement("ablations", ("ablations.csv", "ablation_points.csv"), "most of an hour"),
    Measurement("step_two", ("step_two.csv", "step_two_shares.csv"), "half an hour", ("tiny",)),
    Measurement("step_two", ("step_two.csv", "step_two_shares.csv"), "half an hour", ("lite",)),
    Measurement("kill_resume", ("kill_resume.csv",), "minutes"),
    Measurement("compute_curve", ("compute_curve.csv",), "minutes", ("data/checkpoints/lite.safetensors",)),
    Measurement(
        "diagnosis",
        tuple(f"diagnosis_{part}.csv" for part in ("calibration", "images", "slices", "subbands")),
        "a minute or two",
    ),
    Measurement("modern_codecs", ("rd_points_modern.csv",), "most of an hour, with the extra `codecs`"),
    Measurement("larger_sets", ("rd_points_larger.csv",), "a quarter of an hour"),
    Measurement("resolution", ("resolution.csv", "resolution_points.csv"), "a quarter of an hour"),
    Measurement("ms_ssim_tuning", ("ms_ssim_tuning.csv",), "ten minutes"),
    Measurement("model_trials", ("model_trials.csv",), "two hours of one core"),
    Measurement("refining", ("effort.csv",), "half an hour", ("effort",)),
    Measurement("refining", ("refining.csv", "rd_points_refined.csv"), "an hour", ("kodak",)),
    Measurement("fine_texture", ("fine_texture.csv",), "minutes"),
    Measurement("tiling", ("tiles.csv",), "ten minutes"),
    Measurement("large_image", ("large_image.csv",), "twenty minutes", ("20000",)),
    Measurement("robustness", ("robustness.csv",), "twenty minutes", ("100000",)),
    Measurement("parser_fuzz", ("parser_fuzz.csv",), "ten minutes, with the package atheris", ("-max_total_time=600",)),
    Measurement("exactness", ("exactness.csv",), "minutes", ("rates",)),
    # the rest are times: they want an idle machine
    Measurement("exactness", ("exactness.csv",), "minutes", ("times",)),
    Measurement("wavelet_speed", ("wavelet_speed.csv", "layer_speed.csv"), "minutes"),
    Measurement("evaluation_speed", ("evaluation_speed.csv",), "minutes"),
    Measurement("training_speed", ("training_speed.csv",), "a minute"),
)
EARLIER = ("diagnosis_calibration_before.csv", "ablations_earlier.csv", "training_throughput.csv")
"""Measured once, with weights or on a machine of before, to compare with: nothing makes them again."""
KEPT_TABLES = frozenset((*EARLIER, *(table for measurement in MEASUREMENTS for table in measurement.tables)))


def command_of(table: str) -> str | None:
    """Return the command that makes a table of ``results/tables``, None for a table of a notebook."""
    commands = [measurement.command for measurement in MEASUREMENTS if table in measurement.tables]
    return "; ".join(commands) or None


def chosen(names: Sequence[str]) -> list[Measurement]:
    """Return the measurements whose modules are named, in their order; all of them for no name.

    Raises:
        WeconveneError: a name is no measurement's.
    """
    known = dict.fromkeys(measurement.module for measurement in MEASUREMENTS)
    for name in names:
        if name not in known:
            raise WeconveneError(f"no measurement is called '{name}': choose from {', '.join(known)}")
    return [measurement for measurement in MEASUREMENTS if not names or measurement.module in names]


def run(measurements: Sequence[Measurement]) -> list[str]:
    """Run the commands one after the other, whatever becomes of the others; return those that failed."""
    failed = []
    for measurement in measurements:
        print(f"{measurement.command} ({measurement.cost})", flush=True)
        how = [sys.executable, "-m", f"{PACKAGE}.{measurement.module}", *measurement.arguments]
        if subprocess.run(how, check=False, cwd=NOTEBOOKS).returncode:
            failed.append(measurement.command)
    return failed


def main(argv: Sequence[str] | None = None) -> int:
    """Make the tables of the named measurements, or of all."""
    parser = argparse.ArgumentParser(description="Make the tables of the long measurements again.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="measurements (all)")
    parser.add_argument("--list", action="store_true", help="only say what there is, what it makes and what it takes")
    options = parser.parse_args(argv)
    try:
        measurements = chosen(options.names)
    except WeconveneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.list:
        for measurement in measurements:
            print(f"{measurement.command}: {', '.join(measurement.tables)} ({measurement.cost})")
        return 0
    failed = run(measurements)
    for command in failed:
        print(f"error: {command} did not finish; its table is as it was", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
