"""The command line: ``weconvene encode | decode | info | train | evaluate | certify | data``.

Whatever a user can get wrong ends in one sentence on stderr and exit code 1 (2 for a wrong command line, 130 after
Ctrl-C).
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from weconvene_core import commands
from weconvene_core.errors import WeconveneError

LOWEST_QUALITY, HIGHEST_QUALITY = 1.0, 6.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code; argparse itself exits with 2 on a wrong command line."""
    arguments = _parser().parse_args(argv)
    try:
        with warnings.catch_warnings():
            # Libraries' notes to programmers, such as torch.jit's deprecation: a user can do nothing with them.
            warnings.simplefilter("ignore", FutureWarning)
            return arguments.run(arguments)
    except KeyboardInterrupt:
        return _fail("Interrupted; files that were complete before are complete now.", 130)
    except MemoryError:
        return _fail("There is not enough memory for this: use a smaller picture, or close other programs.")
    except WeconveneError as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error.filename or 'The system'}: {error.strerror or error}.")


def _fail(sentence: str, code: int = 1) -> int:
    print(f"weconvene: {sentence}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="weconvene", description="Learned image compression with 3-D wavelets.")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_codec_commands(subparsers)
    _add_laboratory_commands(subparsers)
    return parser


def _add_codec_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    encode = subparsers.add_parser("encode", help="compress a picture")
    encode.add_argument("input", type=Path, metavar="IN", help="a picture: PNG, JPEG, TIFF, WebP ...")
    encode.add_argument("output", type=Path, metavar="OUT", help="the compressed file, e.g. photo.wcv")
    encode.add_argument(
        "--quality", type=_quality, required=True, metavar="Q", help="a number from 1 (small) to 6 (fine)"
    )
    encode.add_argument("--model", default="lite", help="name of a trained model (default: %(default)s)")
    encode.add_argument("--force", action="store_true", help="replace OUT if it exists")
    encode.set_defaults(run=commands.encode)

    decode = subparsers.add_parser("decode", help="turn a compressed file into a picture")
    decode.add_argument("input", type=Path, metavar="IN", help="a compressed file")
    decode.add_argument("output", type=Path, metavar="OUT", help="the picture; its extension names the format")
    decode.add_argument("--force", action="store_true", help="replace OUT if it exists")
    decode.set_defaults(run=commands.decode)

    info = subparsers.add_parser("info", help="show what a compressed file contains")
    info.add_argument("file", type=Path, metavar="FILE")
    info.add_argument("--json", action="store_true", help="print one JSON object")
    info.set_defaults(run=commands.info)


def _add_laboratory_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    train = subparsers.add_parser("train", help="train a model, or go on with an interrupted training")
    train.add_argument("config", type=Path, metavar="CONFIG", help="the training's configuration, JSON or TOML")
    train.set_defaults(run=commands.train)

    evaluate = subparsers.add_parser("evaluate", help="measure rate and distortion on an image set")
    evaluate.add_argument("--set", default="kodak", help="name of the image set (default: %(default)s)")
    evaluate.add_argument("--model", default="lite", help="name of a trained model (default: %(default)s)")
    evaluate.add_argument("--qualities", type=_quality, nargs="+", metavar="Q", default=[1, 2, 3, 4, 5, 6])
    evaluate.set_defaults(run=commands.evaluate)

    certify = subparsers.add_parser("certify", help="compare what was obtained with what is claimed")
    certify.set_defaults(run=commands.certify)

    data = subparsers.add_parser("data", help="get image sets")
    actions = data.add_subparsers(required=True, metavar="ACTION")
    fetch = actions.add_parser("fetch", help="download an image set of data/registry.csv and verify it")
    fetch.add_argument("name", metavar="NAME", help="e.g. kodak")
    fetch.set_defaults(run=commands.fetch)


def _quality(text: str) -> float:
    """Parse a quality; the comparison also refuses NaN."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not LOWEST_QUALITY <= value <= HIGHEST_QUALITY:
        raise argparse.ArgumentTypeError(
            f"a number from {LOWEST_QUALITY:g} to {HIGHEST_QUALITY:g} is expected, not {text}"
        )
    return value


if __name__ == "__main__":
    sys.exit(main())
