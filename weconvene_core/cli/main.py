"""The command line: ``weconvene encode | decode | info | models | train | calibrate | data``.

Whatever a user can get wrong ends in one sentence on stderr and one of the exit codes of EXIT_CODES.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from weconvene_core import __version__
from weconvene_core.cli import commands, listings
from weconvene_core.codec.tile_grid import DEFAULT_MEMORY
from weconvene_core.errors import CorruptFileError, WeconveneError
from weconvene_core.lambdas import QUALITY_MAX, QUALITY_MIN
from weconvene_core.progress import PROGRESS

Subparsers = argparse._SubParsersAction  # which argparse has no public name for
EXIT_CODES = (
    "exit codes: 0 all is done; 1 something is wrong, and stderr says what; 2 a wrong command line; 3 a compressed "
    "file is damaged, cut, foreign, or of weights that are not installed; 130 interrupted; 141 nobody reads the output "
    "any more. Of several files the others are done nevertheless."
)
SHELLS = ("bash", "zsh", "tcsh")
CLOSED_PIPE = 141  # what a shell says of a program that SIGPIPE ended


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code; argparse itself exits with 2 on a wrong command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be text
    code = commands.FAILED
    try:
        try:
            arguments = _parser().parse_args(argv)
        finally:  # argparse leaves after printing help
            if sys.stdout is not None:
                sys.stdout.flush()
        PROGRESS.set(iter if arguments.quiet else _bar)
        return _run(arguments)
    except KeyboardInterrupt:
        sentence, code = "Interrupted; files that were complete before are complete now.", 130
    except MemoryError:
        sentence = "There is not enough memory for this: use a smaller picture, or close other programs."
    except ImportError as error:
        sentence = _what_is_missing(error)
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


def _what_is_missing(error: ImportError) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"This needs the package {error.name}, of the extra 'train': pip install 'weconvene-core[train]'."
    return f"A library cannot be loaded: {error}."  # such as PyTorch under a limit of memory


def _run(arguments: argparse.Namespace) -> int:
    try:
        with warnings.catch_warnings():
            # Libraries' notes to programmers, such as torch.jit's deprecation: a user can do nothing with them.
            warnings.simplefilter("ignore", FutureWarning)
            code = arguments.run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()  # while a full disk or a closed pipe can still be reported
        return code
    except BaseException:
        if arguments.verbose:
            traceback.print_exc()
        raise


def _bar(steps: Iterable[Any]) -> Iterable[Any]:
    """Show a bar after a second, where stderr is a terminal."""
    return tqdm(steps, delay=1, leave=False, disable=None)


class _Completion(argparse.Action):
    """Print a shell's completion script, and leave."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: object, values: Any, option: object = None) -> None:
        try:
            import shtab
        except ImportError:
            parser.exit(commands.FAILED, "weconvene: Completion needs shtab: install it with pip install shtab.\n")
        commands_of = [parser]
        for one in commands_of:  # which grows
            for action in one._actions:
                if action.metavar in ("IN", "OUT", "CONFIG", "DIR"):
                    action.complete = shtab.FILE
                commands_of += action.choices.values() if isinstance(action, Subparsers) else []
        print(shtab.complete(parser, values))
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    said = "Learned image compression with 3-D wavelets."
    parser = argparse.ArgumentParser(prog="weconvene", description=said, epilog=EXIT_CODES)
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    said = "print a completion script for bash, zsh or tcsh, and exit"
    parser.add_argument("--print-completion", action=_Completion, choices=SHELLS, metavar="SHELL", help=said)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_codec_commands(subparsers)
    _add_training_commands(subparsers)
    return parser


def _command(subparsers: Subparsers, name: str, run: Callable[..., int], said: str, *examples: str) -> Any:
    """Add a command: what its help says, examples, and the options that all have."""
    shown = "".join(f"\n  weconvene {words}" for words in examples)
    texts = {"help": said, "description": f"{said}.".capitalize(), "epilog": f"examples:{shown}"}
    parser = subparsers.add_parser(name, **texts, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quiet", action="store_true", help="no messages and no progress: results and errors only")
    parser.add_argument("--verbose", action="store_true", help="a line for every file, and where an error came from")
    parser.set_defaults(run=run)
    return parser


def _add_codec_commands(subparsers: Subparsers) -> None:
    examples = ("encode photo.png photo.wcv --quality 3", "encode photos/ compressed/ --quality 4.5 --effort 2")
    encode = _command(subparsers, "encode", commands.encode, "compress pictures", *examples)
    _add_files(encode, "pictures (PNG, JPEG, TIFF, WebP ...), folders of them, or - for a pipe", "photo.wcv")
    encode.add_argument("--quality", type=quality_number, required=True, metavar="Q", help="0 (small) to 7 (fine)")
    encode.add_argument("--model", default="lite", metavar="NAME", help="see weconvene models (default: %(default)s)")
    said = "search for a better file: 0 codes at once, 3 takes longest (default: %(default)s)"
    encode.add_argument("--effort", type=int, choices=range(4), default=0, metavar="N", help=said)

    examples = ("decode photo.wcv photo.png", "decode half_a_download.wcv look.png --preview")
    decode = _command(subparsers, "decode", commands.decode, "turn compressed files into pictures", *examples)
    _add_files(decode, "compressed files, folders of them, or - for a pipe", "photo.png")
    decode.add_argument("--preview", action="store_true", help="decode what is there, even if the file is cut")
    said = "format in a folder or a pipe (default: %(default)s)"
    decode.add_argument("--format", default="png", metavar="EXT", help=said)

    examples = ("info photo.wcv", "info compressed/ --json")
    info = _command(subparsers, "info", listings.info, "show what compressed files contain", *examples)
    info.add_argument("inputs", type=Path, nargs="+", metavar="IN", help="compressed files, folders, or - for a pipe")
    _add_json(info)
    _add_json(_command(subparsers, "models", listings.models, "list the trained models", "models"))


def _add_files(parser: argparse.ArgumentParser, what: str, example: str) -> None:
    parser.add_argument("inputs", type=Path, nargs="+", metavar="IN", help=what)
    said = f"the result, e.g. {example}; a folder; or - for a pipe"
    parser.add_argument("output", metavar="OUT", help=said)
    parser.add_argument("--force", action="store_true", help="replace what exists")
    said = "working memory beyond the picture itself; larger pictures are coded in tiles (default: %(default)s)"
    parser.add_argument("--max-memory", type=_positive, default=DEFAULT_MEMORY, metavar="MIB", help=said)


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")


def _add_training_commands(subparsers: Subparsers) -> None:
    said = "train a model, or go on with an interrupted training"
    examples = ("train data/checkpoints/lite_from_scratch.toml", "train run.toml --minutes 60")
    train = _command(subparsers, "train", commands.train, said, *examples)
    train.add_argument("config", type=Path, metavar="CONFIG", help="the training's configuration, JSON or TOML")
    train.add_argument("--minutes", type=_positive, metavar="N", help="save and stop cleanly after N whole minutes")

    said = "after a training: make the model's files decode to the same bits on every machine"
    calibrate = _command(subparsers, "calibrate", commands.calibrate, said, "calibrate my_model")
    calibrate.add_argument("name", metavar="NAME", help="name of a trained model; its file is replaced")
    said = "photographs to measure on (default: those kept out of training)"
    calibrate.add_argument("--images", type=Path, metavar="DIR", help=said)

    data = subparsers.add_parser("data", help="list and get image sets")
    actions = data.add_subparsers(required=True, metavar="ACTION")
    said = "list the known image sets: which are here, and their licences"
    _add_json(_command(actions, "list", listings.image_sets, said, "data list"))
    fetch = _command(actions, "fetch", commands.fetch, "download an image set and verify it", "data fetch kodak")
    fetch.add_argument("name", metavar="NAME", help="name of a set, as weconvene data list shows them")


def _positive(text: str) -> int:
    """Parse a whole number, 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number, 1 or more, is expected, not {text}")
    return int(text)


def quality_number(text: str) -> float:
    """Parse a quality; the comparison also refuses NaN."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not QUALITY_MIN <= value <= QUALITY_MAX:
        raise argparse.ArgumentTypeError(f"a number from {QUALITY_MIN:g} to {QUALITY_MAX:g} is expected, not {text}")
    return value
