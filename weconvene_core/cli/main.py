"""The command line: ``weconvene encode | decode | info | train | calibrate | data``.

Whatever a user can get wrong ends in one sentence on stderr and one of the exit codes of EXIT_CODES.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from weconvene_core.cli import commands
from weconvene_core.codec.tile_grid import DEFAULT_MEMORY
from weconvene_core.errors import CorruptFileError, WeconveneError
from weconvene_core.lambdas import QUALITY_MAX, QUALITY_MIN

EXIT_CODES = (
    "exit codes: 0 all is done; 1 something is wrong, and stderr says what; 2 a wrong command line; 3 a compressed "
    "file is damaged, cut, foreign, or of weights that are not installed; 130 interrupted; 141 nobody reads the output "
    "any more. Of several files the others are done nevertheless."
)
CLOSED_PIPE = 141  # what a shell says of a program that SIGPIPE ended


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code; argparse itself exits with 2 on a wrong command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be text
    arguments = _parser().parse_args(argv)
    code = commands.FAILED
    try:
        with warnings.catch_warnings():
            # Libraries' notes to programmers, such as torch.jit's deprecation: a user can do nothing with them.
            warnings.simplefilter("ignore", FutureWarning)
            done = arguments.run(arguments)
            print(end="", flush=True)  # while a full disk or a closed pipe can still be reported
            return done
    except KeyboardInterrupt:
        sentence, code = "Interrupted; files that were complete before are complete now.", 130
    except MemoryError:
        sentence = "There is not enough memory for this: use a smaller picture, or close other programs."
    except ImportError as error:  # such as of PyTorch under a limit of memory
        sentence = f"A library cannot be loaded: {error}."
    except WeconveneError as error:
        sentence, code = str(error), commands.DAMAGED if isinstance(error, CorruptFileError) else commands.FAILED
    except OSError as error:
        sentence = f"{error.filename or 'The system'}: {error.strerror or error}."
        _drop_unwritten()
        if isinstance(error, BrokenPipeError):  # no fault: the reader has seen enough
            return CLOSED_PIPE
    commands.complain(sentence)
    return code


def _drop_unwritten() -> None:
    """Forget what cannot be written to stdout: Python would try again at exit, and fail in its own words."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    description = "Learned image compression with 3-D wavelets."
    parser = argparse.ArgumentParser(prog="weconvene", description=description, epilog=EXIT_CODES)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_codec_commands(subparsers)
    _add_training_commands(subparsers)
    return parser


def _add_codec_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    encode = subparsers.add_parser("encode", help="compress pictures")
    _add_files(encode, "pictures (PNG, JPEG, TIFF, WebP ...), folders of them, or - for a pipe", "photo.wcv")
    said = "a number from 0 (small) to 7 (fine)"
    encode.add_argument("--quality", type=quality_number, required=True, metavar="Q", help=said)
    encode.add_argument("--model", default="lite", help="name of a trained model (default: %(default)s)")
    said = "search for a better file: 0 codes at once, 3 takes longest (default: %(default)s)"
    encode.add_argument("--effort", type=int, choices=range(4), default=0, help=said)
    encode.set_defaults(run=commands.encode)

    decode = subparsers.add_parser("decode", help="turn compressed files into pictures")
    _add_files(decode, "compressed files, folders of them, or - for a pipe", "photo.png")
    decode.add_argument("--preview", action="store_true", help="decode what is there, even if the file is cut")
    said = "format in a folder or a pipe (default: %(default)s)"
    decode.add_argument("--format", default="png", metavar="EXT", help=said)
    decode.set_defaults(run=commands.decode)

    info = subparsers.add_parser("info", help="show what a compressed file contains")
    info.add_argument("file", type=Path, metavar="FILE", help="a compressed file, or - for a pipe")
    info.add_argument("--json", action="store_true", help="print one JSON object")
    info.set_defaults(run=commands.info)


def _add_files(parser: argparse.ArgumentParser, what: str, example: str) -> None:
    parser.add_argument("inputs", type=Path, nargs="+", metavar="IN", help=what)
    said = f"the result, e.g. {example}; a folder; or - for a pipe"
    parser.add_argument("output", metavar="OUT", help=said)
    parser.add_argument("--force", action="store_true", help="replace what exists")
    said = "working memory beyond the picture itself; larger pictures are coded in tiles (default: %(default)s)"
    parser.add_argument("--max-memory", type=int, default=DEFAULT_MEMORY, metavar="MIB", help=said)


def _add_training_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    train = subparsers.add_parser("train", help="train a model, or go on with an interrupted training")
    train.add_argument("config", type=Path, metavar="CONFIG", help="the training's configuration, JSON or TOML")
    train.add_argument("--minutes", type=float, metavar="N", help="save and stop cleanly after N minutes")
    train.set_defaults(run=commands.train)

    said = "calibrate a model's integer path: its files decode to the same bits on every machine"
    calibrate = subparsers.add_parser("calibrate", help=said)
    calibrate.add_argument("name", metavar="NAME", help="name of a trained model; its file is replaced")
    said = "photographs to measure on (default: those kept out of training)"
    calibrate.add_argument("--images", type=Path, metavar="DIR", help=said)
    calibrate.set_defaults(run=commands.calibrate)

    data = subparsers.add_parser("data", help="get image sets")
    actions = data.add_subparsers(required=True, metavar="ACTION")
    fetch = actions.add_parser("fetch", help="download an image set of data/registry.csv and verify it")
    fetch.add_argument("name", metavar="NAME", help="e.g. kodak")
    fetch.set_defaults(run=commands.fetch)


def quality_number(text: str) -> float:
    """Parse a quality; the comparison also refuses NaN."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not QUALITY_MIN <= value <= QUALITY_MAX:
        raise argparse.ArgumentTypeError(f"a number from {QUALITY_MIN:g} to {QUALITY_MAX:g} is expected, not {text}")
    return value
