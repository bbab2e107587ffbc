"""The command line as users meet it, in this process wherever that shows the same, with real files."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from lab.__main__ import main as laboratory
from lab.paths import ROOT
from weconvene_core import __version__
from weconvene_core.cli import listings
from weconvene_core.cli import main as cli
from weconvene_core.cli.main import main
from weconvene_core.codec import api
from weconvene_core.codec.container import Container, pack
from weconvene_core.paths import CHECKPOINTS, checkpoints
from weconvene_core.progress import PROGRESS

FOREIGN_MODEL = Container(bytes(8), 32, 24, "RGB", 3.0, (b"abc", b"de", b"f"))
FAILED, WRONG_COMMAND, DAMAGED, INTERRUPTED = 1, 2, 3, 130
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""}  # else argparse hides a failure


class Result(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Result]


@pytest.fixture
def weconvene(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command ``weconvene``: from its words to its exit code and what it printed."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # encoding sets it

    def run(*words: str | Path) -> Result:
        try:
            code = main([str(word) for word in words])
        except SystemExit as left:  # argparse
            code = left.code
        return Result(code, *capsys.readouterr())

    return run


def assert_one_sentence(result: Result, *said: str, code: int = FAILED) -> None:
    """The exit code, nothing on stdout, one line on stderr that names the cause."""
    assert result.code == code, result.err
    assert result.out == ""
    assert result.err.startswith("weconvene: ")
    assert result.err.endswith(".\n")
    assert result.err.count("\n") == 1
    for words in said:
        assert words in result.err


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def compressed(tmp_path: Path) -> Path:
    path = tmp_path / "photo.wcv"
    path.write_bytes(pack(FOREIGN_MODEL))
    return path


class TestEncode:
    def test_missing_file(self, weconvene: Command, tmp_path: Path) -> None:
        for output in ("out.wcv", "out/", "no/out.wcv", "out.png"):  # the input comes first
            result = weconvene("encode", tmp_path / "none.png", f"{tmp_path}/{output}", "--quality", "3")
            assert_one_sentence(result, "none.png", "no such file")
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("content", [b"", b"not a picture at all", b"\x89PNG\r\n\x1a\n" + bytes(40)])
    def test_unreadable_picture(self, weconvene: Command, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "bad.png").write_bytes(content)
        result = weconvene("encode", tmp_path / "bad.png", tmp_path / "out.wcv", "--quality", "3")
        assert_one_sentence(result, "bad.png")
        assert not (tmp_path / "out.wcv").exists()

    def test_unknown_model_names_the_known_ones(self, weconvene: Command, photo: Path, tmp_path: Path) -> None:
        result = weconvene("encode", photo, tmp_path / "out.wcv", "--quality", "3", "--model", "huge")
        known = sorted(path.stem for path in CHECKPOINTS.glob("*.safetensors"))
        assert_one_sentence(result, "'huge'", ", ".join(known) or "none")

    def test_existing_output_stays(self, weconvene: Command, photo: Path, compressed: Path) -> None:
        before = compressed.read_bytes()
        assert_one_sentence(weconvene("encode", photo, compressed, "--quality", "3"), "--force")
        assert compressed.read_bytes() == before

    def test_the_input_is_never_the_output(self, weconvene: Command, photo: Path) -> None:
        before = photo.read_bytes()
        link = photo.with_suffix(".wcv")
        link.symlink_to(photo.name)
        assert_one_sentence(weconvene("encode", photo, link, "--quality", "3", "--force"), "input itself")
        assert photo.read_bytes() == before

    def test_a_forgotten_output_replaces_no_picture(self, weconvene: Command, photo: Path, tmp_path: Path) -> None:
        """``encode *.png`` of two pictures names the second as the output."""
        second = tmp_path / "second.png"
        second.write_bytes(photo.read_bytes())
        assert_one_sentence(weconvene("encode", photo, second, "--quality", "3", "--force"), "named as a picture")
        assert second.read_bytes() == photo.read_bytes()

    @pytest.mark.parametrize("name", ["all.wcv", "all.JPG"])
    def test_several_pictures_and_the_name_of_one_file(
        self, weconvene: Command, photo: Path, tmp_path: Path, name: str
    ) -> None:
        assert_one_sentence(weconvene("encode", photo, photo, tmp_path / name, "--quality", "3"), "need a folder")
        assert not (tmp_path / name).exists()

    def test_a_folder_that_cannot_be_made(self, weconvene: Command, photo: Path, tmp_path: Path) -> None:
        Image.open(photo).save(tmp_path / "b.png")
        result = weconvene("encode", photo, tmp_path / "b.png", photo / "out", "--quality", "3")
        assert_one_sentence(result, str(photo / "out"), "cannot be made")

    def test_closed_streams(self, weconvene: Command, photo: Path, tmp_path: Path, monkeypatch) -> None:
        """As services are started."""
        monkeypatch.setattr(sys, "stdin", None)
        assert_one_sentence(weconvene("encode", "-", tmp_path / "o.wcv", "--quality", "3"), "Standard input is closed")

    def test_missing_output_folder(self, weconvene: Command, photo: Path, tmp_path: Path) -> None:
        assert_one_sentence(weconvene("encode", photo, tmp_path / "no" / "out.wcv", "--quality", "3"), "no folder")

    def test_the_output_of_a_folder_is_a_folder(self, weconvene: Command, photo: Path, compressed: Path) -> None:
        assert_one_sentence(weconvene("encode", photo.parent, compressed, "--quality", "3"), "need a folder")

    def test_two_pictures_never_become_one_file(self, weconvene: Command, photo: Path, tmp_path: Path) -> None:
        Image.open(photo).save(photo.with_suffix(".bmp"))
        result = weconvene("encode", photo, photo.with_suffix(".bmp"), tmp_path / "out", "--quality", "3")
        assert_one_sentence(result, "would both become", "photo.bmp")

    def test_a_pipe_takes_one_picture(self, weconvene: Command, photo: Path) -> None:
        assert_one_sentence(weconvene("encode", photo, photo, "-", "--quality", "3"), "A pipe takes one picture")

    def test_a_folder_without_pictures(self, weconvene: Command, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        result = weconvene("encode", tmp_path / "empty", tmp_path / "out", "--quality", "3")
        assert_one_sentence(result, "nothing to do")

    def test_only_what_can_be_read_counts_as_a_picture(
        self, weconvene: Command, compressed: Path, tmp_path: Path
    ) -> None:
        """Pillow writes PDF but does not read it, and .wcv is the result."""
        (compressed.parent / "notes.pdf").write_bytes(b"%PDF-1.4")
        result = weconvene("encode", compressed.parent, tmp_path / "out", "--quality", "3")
        assert_one_sentence(result, "nothing to do")

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
    def test_output_folder_without_permission(self, weconvene: Command, photo: Path, tmp_path: Path) -> None:
        (tmp_path / "locked").mkdir(mode=0o500)
        result = weconvene("encode", photo, tmp_path / "locked" / "out.wcv", "--quality", "3")
        assert_one_sentence(result, "may not be written")

    @pytest.mark.parametrize("quality", ["-0.001", "7.001", "nan", "-3", "inf", "fine"])
    def test_quality_out_of_range(self, weconvene: Command, photo: Path, tmp_path: Path, quality: str) -> None:
        result = weconvene("encode", photo, tmp_path / "out.wcv", f"--quality={quality}")
        assert result.code == WRONG_COMMAND
        assert "from 0 to 7" in result.err
        assert "Traceback" not in result.err


class TestDecode:
    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"", "not a WeConvene file"),
            (b"\xff\xd8\xff\xe0 a JPEG, say", "not a WeConvene file"),
            (pack(FOREIGN_MODEL)[:-9], "--preview"),
            (pack(FOREIGN_MODEL)[:-1] + b"!", "checksum"),
            (b"WCV\x09" + pack(FOREIGN_MODEL)[4:], "version 9"),
            (pack(FOREIGN_MODEL), "other weights (0000000000000000)"),
        ],
    )
    def test_damaged_and_foreign_files(self, weconvene: Command, tmp_path: Path, content: bytes, said: str) -> None:
        (tmp_path / "in.wcv").write_bytes(content)
        assert_one_sentence(weconvene("decode", tmp_path / "in.wcv", tmp_path / "out.png"), said, code=DAMAGED)
        assert not (tmp_path / "out.png").exists()

    def test_missing_file(self, weconvene: Command, tmp_path: Path) -> None:
        result = weconvene("decode", tmp_path / "none.wcv", tmp_path / "out.png")
        assert_one_sentence(result, "none.wcv", "no such file")

    def test_existing_output_stays(self, weconvene: Command, photo: Path, compressed: Path) -> None:
        before = photo.read_bytes()
        assert_one_sentence(weconvene("decode", compressed, photo), "--force")
        assert photo.read_bytes() == before

    def test_unknown_extension(self, weconvene: Command, compressed: Path, tmp_path: Path) -> None:
        assert_one_sentence(weconvene("decode", compressed, tmp_path / "out.xyz"), "out.xyz", ".png")


class TestInfo:
    def test_json_and_text_agree(self, weconvene: Command, compressed: Path) -> None:
        facts = json.loads(weconvene("info", compressed, "--json").out)
        assert facts["bytes"] == compressed.stat().st_size
        assert facts["bpp"] == pytest.approx(8 * facts["bytes"] / (32 * 24), abs=5e-5)
        assert (facts["width"], facts["height"], facts["mode"], facts["quality"]) == (32, 24, "RGB", 3.0)
        assert facts["model_hash"] == "00" * 8
        assert facts["stream_bytes"] == {"z": 3, "y_lf": 2, "y_hf": 1}
        assert (facts["orientation"], facts["transforms"]) == (0, True)
        assert facts["complete"]
        text = weconvene("info", compressed).out
        assert [line.split(maxsplit=1)[0] for line in text.splitlines()] == list(facts)

    def test_a_cut_file_says_so(self, weconvene: Command, compressed: Path) -> None:
        whole = compressed.read_bytes()
        compressed.write_bytes(whole[:-2])
        result = weconvene("info", compressed, "--json")
        facts = json.loads(result.out)
        assert not facts["complete"]
        assert (result.code, result.err.count("\n")) == (DAMAGED, 1)
        assert f"{len(whole) - 2} of its {len(whole)} bytes" in result.err
        assert facts["bpp"] == pytest.approx(8 * len(whole) / (32 * 24), abs=5e-5)

    def test_foreign_file(self, weconvene: Command, photo: Path) -> None:
        assert_one_sentence(weconvene("info", photo), "not a WeConvene file", code=DAMAGED)

    def test_several_files_and_folders(self, weconvene: Command, compressed: Path) -> None:
        """A damaged one is reported, and the others are shown nevertheless."""
        folder = compressed.parent / "more"
        folder.mkdir()
        for name in ("a", "b"):
            (folder / f"{name}.wcv").write_bytes(compressed.read_bytes())
        (folder / "notes.txt").write_text("no picture")
        assert weconvene("info", compressed, folder).out.split("\n")[0].split()[:2] == ["file", "bytes"]
        (folder / "b.wcv").write_bytes(b"WCV")
        result = weconvene("info", compressed, folder, "--json")
        assert [Path(json.loads(line)["file"]).name for line in result.out.splitlines()] == ["photo.wcv", "a.wcv"]
        assert (result.code, result.err.count("\n")) == (DAMAGED, 1)
        assert "b.wcv" in result.err

    def test_a_folder_without_files(self, weconvene: Command, tmp_path: Path) -> None:
        assert_one_sentence(weconvene("info", tmp_path), "no .wcv file", str(tmp_path))


class TestListings:
    def test_models(self, weconvene: Command) -> None:
        rows = {row["name"]: row for row in map(json.loads, weconvene("models", "--json").out.splitlines())}
        assert rows.keys() == checkpoints().keys()
        for name, path in checkpoints().items():
            assert rows[name]["bytes"] == path.stat().st_size
        if "lite" in rows:
            row = rows["lite"]
            assert (row["preset"], row["metric"], row["qualities"], row["shipped"]) == ("lite", "mse", "0 to 7", True)
            assert len(bytes.fromhex(row["model_hash"])) == 8

    def test_a_damaged_model_is_listed(
        self, weconvene: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "broken.safetensors").write_bytes(b"no model")
        monkeypatch.setattr("weconvene_core.paths.CHECKPOINTS", tmp_path)
        result = weconvene("models")
        assert result.code == 0
        facts = dict(line.split(maxsplit=1) for line in result.out.splitlines() if "change_of" not in line)
        assert (facts["name"], facts["bytes"], facts["preset"]) == ("broken", "8", "?")

    def test_image_sets(self, weconvene: Command, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The registered ones, and any folder with pictures of the user's own."""
        (photo.parent / "holiday").mkdir()
        photo.rename(photo.parent / "holiday" / "photo.png")
        monkeypatch.setenv("WECONVENE_DATA", str(photo.parent))
        monkeypatch.setenv("WECONVENE_CACHE", str(photo.parent / "cache"))
        rows = {row["name"]: row for row in map(json.loads, weconvene("data", "list", "--json").out.splitlines())}
        assert rows.keys() == {"default", "kodak", "clic", "tecnick", "clic2025", "clic2025_final", "holiday"}
        assert (rows["kodak"]["images"], rows["kodak"]["here"], rows["kodak"]["hashes"]) == (24, 0, True)
        assert "weconvene data fetch kodak" in rows["kodak"]["folder"]
        assert "unrestricted use" in rows["kodak"]["licence"]
        assert not rows["tecnick"]["hashes"]
        assert (rows["holiday"]["here"], rows["holiday"]["folder"]) == (1, str(photo.parent / "holiday"))
        assert weconvene("data", "list").out.count("\n") == 1 + len(rows)


class TestHelp:
    def test_every_command_has_examples_that_parse(self, weconvene: Command) -> None:
        parser = cli._parser()
        for words in ("encode", "decode", "info", "models", "train", "calibrate", "data list", "data fetch"):
            result = weconvene(*words.split(), "--help")
            assert result.code == 0
            assert "--quiet" in result.out
            assert "--verbose" in result.out
            examples = [line.split() for line in result.out.splitlines() if line.startswith(f"  weconvene {words}")]
            assert examples
            for _, *example in examples:
                assert callable(parser.parse_args(example).run)

    def test_version(self, weconvene: Command) -> None:
        assert weconvene("--version").out == f"weconvene {__version__}\n"

    @pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
    def test_completion(self, weconvene: Command, shell: str) -> None:
        pytest.importorskip("shtab")
        result = weconvene("--print-completion", shell)
        assert result.code == 0
        for word in ("encode", "effort", "models", "fetch"):
            assert word in result.out

    def test_completion_without_its_package(self, weconvene: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "shtab", None)
        assert_one_sentence(weconvene("--print-completion", "bash"), "pip install shtab")

    @pytest.mark.parametrize("words", [("train", "a.toml", "--minutes", "0"), ("decode", "a", "b", "--max-memory=-1")])
    def test_numbers_that_are_none(self, weconvene: Command, words: tuple[str, ...]) -> None:
        result = weconvene(*words)
        assert result.code == WRONG_COMMAND
        assert "a whole number, 1 or more" in result.err

    def test_verbose_says_where_an_error_came_from(self, weconvene: Command, tmp_path: Path) -> None:
        result = weconvene("info", tmp_path / "none.wcv", "--verbose")
        assert (result.code, result.out) == (FAILED, "")
        assert result.err.startswith("Traceback")
        assert result.err.splitlines()[-1].startswith("weconvene: ")

    @pytest.mark.parametrize("name", [b"caf\xe9.wcv", b"two\nlines.wcv", b"red\x1b[31m.wcv"])
    def test_names_that_are_no_text(self, weconvene: Command, tmp_path: Path, name: bytes) -> None:
        """Latin-1 in a UTF-8 world, and control characters, which would reach the terminal."""
        path = tmp_path / os.fsdecode(name)
        try:
            path.write_bytes(pack(FOREIGN_MODEL)[:-2])
        except (OSError, UnicodeError):
            pytest.skip("such a name is impossible on this file system")
        result = weconvene("info", path, "--json")
        assert result.code == DAMAGED
        assert json.loads(result.out)["file"] == str(path)
        assert result.err.count("\n") == 1
        assert result.err.rstrip().isprintable()

    @pytest.mark.slow
    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
    @pytest.mark.parametrize(("output", "code", "said"), [("/dev/full", FAILED, "No space left"), (None, 141, "")])
    @pytest.mark.parametrize("words", [("info", "photo.wcv"), ("--help",), ("--print-completion", "zsh")])
    def test_output_that_cannot_be_written(
        self, compressed: Path, words: tuple[str, ...], output: str | None, code: int, said: str
    ) -> None:
        """A full disk, and a reader that has gone: one sentence or none, never Python's own words at exit."""
        reading, writing = os.pipe()
        os.close(reading)
        with open(output or os.devnull, "wb") as full:
            command = [sys.executable, "-m", "weconvene_core", *words]
            done = subprocess.run(
                command, stdout=full if output else writing, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
                check=False, cwd=compressed.parent,
            )  # fmt: skip
        os.close(writing)
        assert done.returncode == code
        assert said in done.stderr
        assert done.stderr.count("\n") == bool(said)

    @pytest.mark.slow
    def test_torch_is_not_loaded(self, compressed: Path) -> None:
        """It takes seconds, and nothing here computes."""
        code = f"""
import sys
from contextlib import suppress
from weconvene_core.cli.main import main
for words in (["--help"], ["--version"], ["info", {str(compressed)!r}], ["models"], ["data", "list"]):
    with suppress(SystemExit):
        main(words)
print({{"torch", "pydantic", "shtab"}} & sys.modules.keys())
"""
        command = [sys.executable, "-c", code]
        result = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=True)
        assert result.stdout.endswith("set()\n")


class TestOtherCommands:
    @pytest.mark.parametrize("arguments", [[], ["compress"], ["encode", "a.png"], ["data", "fetch"]])
    def test_wrong_command_lines_exit_with_2(self, weconvene: Command, arguments: list[str]) -> None:
        result = weconvene(*arguments)
        assert result.code == WRONG_COMMAND
        assert "usage: weconvene" in result.err

    def test_help_names_every_command(self, weconvene: Command) -> None:
        result = weconvene("--help")
        assert result.code == 0
        for command in ("encode", "decode", "info", "train", "data"):
            assert f"    {command} " in result.out

    def test_missing_training_configuration(self, weconvene: Command, tmp_path: Path) -> None:
        assert_one_sentence(weconvene("train", tmp_path / "none.json"), "none.json")

    def test_unparseable_training_configuration(self, weconvene: Command, tmp_path: Path) -> None:
        (tmp_path / "run.json").write_text("{")
        assert_one_sentence(weconvene("train", tmp_path / "run.json"), "run.json")

    def test_a_mistake_in_a_training_configuration(self, weconvene: Command, tmp_path: Path) -> None:
        (tmp_path / "run.toml").write_text('preset = "tiny"\noutput = "x"\nema_dekay = 0.9\n[[stages]]\nname = "a"\n')
        result = weconvene("train", tmp_path / "run.toml")
        assert_one_sentence(result, f"{tmp_path / 'run.toml'}: ema_dekay is unknown: perhaps ema_decay is meant")

    @pytest.mark.slow
    def test_a_quiet_training(
        self, weconvene: Command, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("WECONVENE_RUNS", str(tmp_path))
        stage = 'name = "a"\nsteps = 2\nlearning_rate = 1e-3\nfinal_rate = 1e-3\nbatch = 1\ncrop = 32\n'
        run = f"preset = 'tiny'\noutput = 'runs/x'\nimages = '{photo.parent}'\nlog_every = 1\n[[stages]]\n{stage}"
        (tmp_path / "run.toml").write_text(run)
        assert weconvene("train", tmp_path / "run.toml", "--quiet") == (0, "", "")
        assert (tmp_path / "runs" / "x" / "state.safetensors").is_file()
        again = weconvene("train", tmp_path / "run.toml")
        assert "100%" in again.err
        assert "training images: 1 (" in again.out
        assert "already finished: 2 steps" in again.out

    def test_unknown_preset_in_a_training_configuration(self, weconvene: Command, tmp_path: Path) -> None:
        (tmp_path / "run.json").write_text('{"preset": "huge", "output": "out", "phases": []}')
        assert_one_sentence(weconvene("train", tmp_path / "run.json"), "'huge'", "lite", "tiny")

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--model", "huge"], "'huge'"),
            (["--output", "a.txt"], "a.txt"),
            (["--output", __file__], ".csv nor a .json"),
        ],
    )
    def test_what_cannot_be_evaluated(self, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
        assert laboratory(["evaluate", "--set", "default", *words]) == FAILED
        assert said in capsys.readouterr().err

    def test_unknown_image_set(self, weconvene: Command) -> None:
        assert_one_sentence(weconvene("data", "fetch", "no-such-set"), "no-such-set", "weconvene data list")

    def test_interrupt(self, weconvene: Command, compressed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def read(source: Path) -> bytes:
            raise KeyboardInterrupt

        monkeypatch.setattr(listings, "read", read)
        assert_one_sentence(weconvene("info", compressed), "Interrupted", code=INTERRUPTED)

    @pytest.mark.slow
    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a named pipe")
    def test_ctrl_c_in_a_process_of_its_own(self, tmp_path: Path) -> None:
        """While reading: a pipe that nobody writes to blocks the reader for as long as we like."""
        os.mkfifo(tmp_path / "pipe")
        process = subprocess.Popen(
            [sys.executable, "-m", "weconvene_core", "info", str(tmp_path / "pipe")],
            stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, preexec_fn=hear_interrupts,
        )  # fmt: skip
        writer = os.open(tmp_path / "pipe", os.O_WRONLY)  # returns once the program has opened its end
        try:
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=20)
        finally:
            os.close(writer)
        assert process.returncode == INTERRUPTED
        assert errors.startswith("weconvene: Interrupted")
        assert errors.count("\n") == 1


def hear_interrupts() -> None:
    """What a shell starts in the background ignores Ctrl-C, and so would all that it starts in turn."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.skipif(not (CHECKPOINTS / "lite.safetensors").is_file(), reason="the weights of lite are missing")
class TestWithTheTrainedModel:
    """What only the shipped model can show."""

    def test_a_picture_survives_the_disk(self, weconvene: Command, photo: Path, tmp_path: Path) -> None:
        file, back = tmp_path / "out.wcv", tmp_path / "back.png"
        file.write_bytes(b"old")
        encoded = weconvene("encode", photo, file, "--quality", "4.5", "--force")
        assert encoded.code == 0, encoded.err
        assert f"{file.stat().st_size} bytes" in encoded.out
        facts = json.loads(weconvene("info", file, "--json").out)
        assert (facts["width"], facts["height"], facts["quality"], facts["tile"]) == (32, 24, 4.5, 0)
        decoded = weconvene("decode", file, back)
        assert decoded.code == 0, decoded.err
        with Image.open(back) as image:
            assert (image.size, image.mode) == ((32, 24), "RGB")

    @pytest.mark.parametrize(("source", "output"), [("one/photo.png", "out/"), ("one", "out")])
    def test_the_folder_of_a_single_picture_is_made(
        self, weconvene: Command, photo: Path, tmp_path: Path, source: str, output: str
    ) -> None:
        (tmp_path / "one").mkdir()
        photo.rename(tmp_path / "one" / "photo.png")
        result = weconvene("encode", tmp_path / source, f"{tmp_path}/{output}", "--quality", "0")
        assert result.code == 0, result.err
        assert result.err == ""
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["photo.wcv"]

    def test_a_model_that_is_not_calibrated_is_named_once(
        self, weconvene: Command, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        coded = api.encode
        monkeypatch.setattr(api, "encode", lambda *words, **options: coded(*words, **options, exact=False))
        Image.open(photo).save(tmp_path / "b.png")
        result = weconvene("encode", photo, tmp_path / "b.png", tmp_path / "out", "--quality", "0")
        assert (result.code, result.out) == (0, "2 of 2 files done\n")
        assert result.err.count("weconvene calibrate lite") == result.err.count("\n") == 1

    def test_folders_and_exit_codes(self, weconvene: Command, photo: Path, tmp_path: Path) -> None:
        """One picture is refused, one is reduced to 8 bits; the others are done, and the folders below are kept."""
        shelf = tmp_path / "in"
        (shelf / "sub").mkdir(parents=True)
        photo.rename(shelf / "sub" / "photo.png")
        Image.new("CMYK", (9, 9)).save(shelf / "ink.jpg")
        Image.fromarray(np.zeros((9, 9), np.uint16)).save(shelf / "deep.png")
        (shelf / "notes.txt").write_text("no picture")
        encoded = weconvene("encode", shelf, tmp_path / "out", "--quality", "2")
        assert (encoded.code, encoded.out) == (FAILED, "2 of 3 files done\n")
        assert "ink.jpg: Pictures of mode CMYK" in encoded.err
        assert "deep.png: Samples of more than 8 bits are reduced" in encoded.err
        files = sorted(path.relative_to(tmp_path) for path in (tmp_path / "out").rglob("*.wcv"))
        assert [str(file) for file in files] == ["out/deep.wcv", "out/sub/photo.wcv"]
        (tmp_path / "out" / "bad.wcv").write_bytes(b"WCV")
        decoded = weconvene("decode", tmp_path / "out", tmp_path / "back", "--format", "webp")
        assert (decoded.code, decoded.out) == (DAMAGED, "2 of 3 files done\n")
        assert (tmp_path / "back" / "sub" / "photo.webp").is_file()

    def test_a_folder_of_everyday_things(self, weconvene: Command, photo: Path, tmp_path: Path) -> None:
        """Hidden companions, films and tables stay out; linked folders come along, and links in circles end."""
        shelf, elsewhere = tmp_path / "in", tmp_path / "elsewhere"
        for folder in (shelf / ".ipynb_checkpoints", elsewhere):
            folder.mkdir(parents=True)
        for name in ("in/a.PNG", "in/.hidden.png", "in/.ipynb_checkpoints/a.png", "elsewhere/b\n-c.png"):
            (tmp_path / name).write_bytes(photo.read_bytes())
        for name in ("film.mpg", "table.h5", "page.eps", "._a.png", "a.txt"):
            (shelf / name).write_bytes(bytes(99))
        (shelf / "linked").symlink_to("../elsewhere")
        (elsewhere / "back").symlink_to("../in")
        (shelf / "self").symlink_to(".")
        result = weconvene("encode", shelf, tmp_path / "out", "--quality", "2")
        assert (result.code, result.out) == (0, "2 of 2 files done\n"), result.err
        files = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
        assert files == {"a.wcv", "linked/b\n-c.wcv"}

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read anything")
    def test_a_folder_that_cannot_be_listed_is_named(self, weconvene: Command, photo: Path, tmp_path: Path) -> None:
        (tmp_path / "locked").mkdir(mode=0)
        result = weconvene("encode", tmp_path, tmp_path / "out", "--quality", "2")
        assert (result.code, result.out) == (FAILED, "1 of 2 files done\n")
        assert "locked cannot be listed" in result.err

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a named pipe")
    def test_a_pipe_stays_a_pipe(self, weconvene: Command, photo: Path, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
        try:
            result = weconvene("encode", photo, tmp_path / "pipe", "--quality", "3", "--force")
            assert result.code == 0, result.err
            assert os.read(reader, 9).startswith(b"WCV")
        finally:
            os.close(reader)
        assert (tmp_path / "pipe").is_fifo()

    def test_an_output_that_appears_meanwhile_stays(
        self, weconvene: Command, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        coded = api.encode

        def slowly(*arguments: object, **options: object) -> bytes:
            (tmp_path / "out.wcv").write_bytes(b"somebody else's")
            return coded(*arguments, **options)

        monkeypatch.setattr(api, "encode", slowly)
        result = weconvene("encode", photo, tmp_path / "out.wcv", "--quality", "3")
        assert_one_sentence(result, "out.wcv", "exists")
        assert (tmp_path / "out.wcv").read_bytes() == b"somebody else's"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["out.wcv", "photo.png"]

    def test_a_folder_encoded_twice_beside_its_pictures(self, weconvene: Command, photo: Path) -> None:
        for force in ([], ["--force"]):
            result = weconvene("encode", photo.parent, photo.parent, "--quality", "2", *force)
            assert result.code == 0, result.err
        assert sorted(path.name for path in photo.parent.iterdir()) == ["photo.png", "photo.wcv"]

    def test_evaluation_in_files(
        self, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Every image in a CSV file, the means in CompressAI's JSON; what exists is not replaced unasked."""
        (tmp_path / "mine").mkdir()
        for name in ("a.png", "b.png"):
            (tmp_path / "mine" / name).write_bytes(photo.read_bytes())
        monkeypatch.setenv("WECONVENE_DATA", str(tmp_path))
        table, means = tmp_path / "points.csv", tmp_path / "lite.json"
        words = ["evaluate", "--set", "mine", "--qualities", "1", "5", "--output", str(table), str(means)]
        assert laboratory(words) == 0
        rows = list(csv.DictReader(table.open(encoding="utf-8")))
        assert {(row["image"], float(row["quality"])) for row in rows} >= {("a.png", 1.0), ("b.png", 5.0)}
        results = json.loads(means.read_text(encoding="utf-8"))["results"]
        assert results["bpp"] == pytest.approx([float(r["bpp"]) for r in rows if r["image"] == "mean"], abs=1e-6)
        assert results["psnr-rgb"][0] < results["psnr-rgb"][1]
        assert laboratory(words) == FAILED
        assert "--force" in capsys.readouterr().err

    def test_quiet_and_verbose(self, weconvene: Command, photo: Path, tmp_path: Path) -> None:
        quiet = weconvene("encode", photo, tmp_path / "a.wcv", "--quality", "2", "--quiet")
        assert quiet == (0, "", "")
        verbose = weconvene("encode", photo, tmp_path / "out", tmp_path / "out", "--quality", "2", "--verbose")
        assert verbose.code == FAILED
        result = weconvene("decode", tmp_path / "a.wcv", tmp_path / "a.wcv", tmp_path / "out", "--verbose")
        assert result.out.count("photo.png") == 0
        assert result.out.count("a.png: 32 x 24, RGB") == 1

    @pytest.mark.slow
    def test_progress_goes_through_all_steps_of_long_work(self, photo: Path) -> None:
        """Orientations and passes of a search, tiles of an encoding, and rows of tiles of a decoding."""
        seen: set[tuple[int, int]] = set()

        def noted(steps: Sequence[object]) -> Iterator[object]:
            for number, step in enumerate(steps, 1):
                seen.add((number, len(steps)))
                yield step

        picture = np.asarray(Image.open(photo).resize((300, 160)))
        before = PROGRESS.set(noted)
        try:
            api.decode(api.encode(photo, 3, effort=3))
            assert {(8, 8), (20, 20)} <= seen
            api.decode(api.encode(picture, 3, tile=128))
        finally:
            PROGRESS.reset(before)
        assert {(6, 6), (2, 2)} <= seen

    def test_pipes_and_previews(
        self, photo: Path, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def piped(data: bytes, *words: str) -> bytes:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
            assert main([*words, "-", "-"]) == 0
            return capsysbinary.readouterr().out

        data = piped(photo.read_bytes(), "encode", "--quality", "6")
        assert data.startswith(b"WCV")
        back, preview = piped(data, "decode", "--format", "tif"), piped(data[:-10], "decode", "--preview")
        pictures = [Image.open(io.BytesIO(content)) for content in (back, preview)]
        assert [(image.format, image.size) for image in pictures] == [("TIFF", (32, 24)), ("PNG", (32, 24))]
