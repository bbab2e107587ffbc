"""The command line as users meet it: in processes of its own, with real files, above all the wrong ones."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from weconvene_core.codec.container import Container, pack
from weconvene_core.paths import CHECKPOINTS, ROOT

FOREIGN_MODEL = Container(bytes(8), 32, 24, "RGB", 3.0, (b"abc", b"de", b"f"))
FAILED, WRONG_COMMAND, DAMAGED, INTERRUPTED = 1, 2, 3, 130


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "weconvene_core", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **pipes, env=environment, preexec_fn=hear_interrupts)


def hear_interrupts() -> None:
    """What a shell starts in the background ignores Ctrl-C, and so would all that it starts in turn."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def weconvene(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    process = start(*arguments)
    output, errors = process.communicate(timeout=240)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def assert_one_sentence(result: subprocess.CompletedProcess[str], *said: str, code: int = FAILED) -> None:
    """The exit code, nothing on stdout, one line on stderr that names the cause."""
    assert result.returncode == code, result.stderr
    assert result.stdout == ""
    assert result.stderr.startswith("weconvene: ")
    assert result.stderr.endswith(".\n")
    assert result.stderr.count("\n") == 1
    for words in said:
        assert words in result.stderr


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
    def test_missing_file(self, tmp_path: Path) -> None:
        result = weconvene("encode", tmp_path / "none.png", tmp_path / "out.wcv", "--quality", "3")
        assert_one_sentence(result, "none.png", "No such file")

    @pytest.mark.parametrize("content", [b"", b"not a picture at all", b"\x89PNG\r\n\x1a\n" + bytes(40)])
    def test_unreadable_picture(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "bad.png").write_bytes(content)
        result = weconvene("encode", tmp_path / "bad.png", tmp_path / "out.wcv", "--quality", "3")
        assert_one_sentence(result, "bad.png")
        assert not (tmp_path / "out.wcv").exists()

    def test_unknown_model_names_the_known_ones(self, photo: Path, tmp_path: Path) -> None:
        result = weconvene("encode", photo, tmp_path / "out.wcv", "--quality", "3", "--model", "huge")
        known = sorted(path.stem for path in CHECKPOINTS.glob("*.safetensors"))
        assert_one_sentence(result, "'huge'", ", ".join(known) or "none")

    def test_existing_output_stays(self, photo: Path, compressed: Path) -> None:
        before = compressed.read_bytes()
        assert_one_sentence(weconvene("encode", photo, compressed, "--quality", "3"), "--force")
        assert compressed.read_bytes() == before

    def test_the_input_is_never_the_output(self, photo: Path) -> None:
        before = photo.read_bytes()
        assert_one_sentence(weconvene("encode", photo, photo, "--quality", "3", "--force"), "input itself")
        assert photo.read_bytes() == before

    def test_missing_output_folder(self, photo: Path, tmp_path: Path) -> None:
        assert_one_sentence(weconvene("encode", photo, tmp_path / "no" / "out.wcv", "--quality", "3"), "no folder")

    def test_the_output_of_a_folder_is_a_folder(self, photo: Path, compressed: Path) -> None:
        assert_one_sentence(weconvene("encode", photo.parent, compressed, "--quality", "3"), "need a folder")

    def test_two_pictures_never_become_one_file(self, photo: Path, tmp_path: Path) -> None:
        Image.open(photo).save(photo.with_suffix(".bmp"))
        result = weconvene("encode", photo, photo.with_suffix(".bmp"), tmp_path / "out", "--quality", "3")
        assert_one_sentence(result, "would both become", "photo.bmp")

    def test_a_pipe_takes_one_picture(self, photo: Path) -> None:
        assert_one_sentence(weconvene("encode", photo, photo, "-", "--quality", "3"), "A pipe takes one picture")

    def test_a_folder_without_pictures(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        result = weconvene("encode", tmp_path / "empty", tmp_path / "out", "--quality", "3")
        assert_one_sentence(result, "nothing to do")

    def test_only_what_can_be_read_counts_as_a_picture(self, compressed: Path, tmp_path: Path) -> None:
        """Pillow writes PDF but does not read it, and .wcv is the result."""
        (compressed.parent / "notes.pdf").write_bytes(b"%PDF-1.4")
        result = weconvene("encode", compressed.parent, tmp_path / "out", "--quality", "3")
        assert_one_sentence(result, "nothing to do")

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
    def test_output_folder_without_permission(self, photo: Path, tmp_path: Path) -> None:
        (tmp_path / "locked").mkdir(mode=0o500)
        result = weconvene("encode", photo, tmp_path / "locked" / "out.wcv", "--quality", "3")
        assert_one_sentence(result, "may not be written")

    @pytest.mark.parametrize("quality", ["-0.001", "7.001", "nan", "-3", "inf", "fine"])
    def test_quality_out_of_range(self, photo: Path, tmp_path: Path, quality: str) -> None:
        result = weconvene("encode", photo, tmp_path / "out.wcv", f"--quality={quality}")
        assert result.returncode == WRONG_COMMAND
        assert "from 0 to 7" in result.stderr
        assert "Traceback" not in result.stderr


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
    def test_damaged_and_foreign_files(self, tmp_path: Path, content: bytes, said: str) -> None:
        (tmp_path / "in.wcv").write_bytes(content)
        assert_one_sentence(weconvene("decode", tmp_path / "in.wcv", tmp_path / "out.png"), said, code=DAMAGED)
        assert not (tmp_path / "out.png").exists()

    def test_missing_file(self, tmp_path: Path) -> None:
        result = weconvene("decode", tmp_path / "none.wcv", tmp_path / "out.png")
        assert_one_sentence(result, "none.wcv", "No such file")

    def test_existing_output_stays(self, photo: Path, compressed: Path) -> None:
        before = photo.read_bytes()
        assert_one_sentence(weconvene("decode", compressed, photo), "--force")
        assert photo.read_bytes() == before

    def test_unknown_extension(self, compressed: Path, tmp_path: Path) -> None:
        assert_one_sentence(weconvene("decode", compressed, tmp_path / "out.xyz"), "out.xyz", ".png")


class TestInfo:
    def test_json_and_text_agree(self, compressed: Path) -> None:
        facts = json.loads(weconvene("info", compressed, "--json").stdout)
        assert facts["bytes"] == compressed.stat().st_size
        assert facts["bpp"] == pytest.approx(8 * facts["bytes"] / (32 * 24), abs=5e-5)
        assert (facts["width"], facts["height"], facts["mode"], facts["quality"]) == (32, 24, "RGB", 3.0)
        assert facts["model_hash"] == "00" * 8
        assert facts["stream_bytes"] == {"z": 3, "y_lf": 2, "y_hf": 1}
        assert (facts["orientation"], facts["transforms"]) == (0, True)
        assert facts["complete"]
        text = weconvene("info", compressed).stdout
        assert [line.split(maxsplit=1)[0] for line in text.splitlines()] == list(facts)

    def test_a_cut_file_says_so(self, compressed: Path) -> None:
        whole = compressed.read_bytes()
        compressed.write_bytes(whole[:-2])
        result = weconvene("info", compressed, "--json")
        facts = json.loads(result.stdout)
        assert not facts["complete"]
        assert (result.returncode, result.stderr.count("\n")) == (DAMAGED, 1)
        assert f"{len(whole) - 2} of its {len(whole)} bytes" in result.stderr
        assert facts["bpp"] == pytest.approx(8 * len(whole) / (32 * 24), abs=5e-5)

    def test_foreign_file(self, photo: Path) -> None:
        assert_one_sentence(weconvene("info", photo), "not a WeConvene file", code=DAMAGED)

    def test_folder(self, tmp_path: Path) -> None:
        assert_one_sentence(weconvene("info", tmp_path), "Is a directory")

    def test_torch_is_not_loaded(self, compressed: Path) -> None:
        """It takes seconds, and nothing here computes."""
        code = "import sys; from weconvene_core.cli.main import main; main(sys.argv[1:]); print('torch' in sys.modules)"
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        result = subprocess.run(
            [sys.executable, "-c", code, "info", str(compressed)],
            capture_output=True,
            text=True,
            env=environment,
            check=True,
        )
        assert result.stdout.endswith("False\n")


class TestOtherCommands:
    @pytest.mark.parametrize("arguments", [[], ["compress"], ["encode", "a.png"], ["data", "fetch"]])
    def test_wrong_command_lines_exit_with_2(self, arguments: list[str]) -> None:
        result = weconvene(*arguments)
        assert result.returncode == WRONG_COMMAND
        assert "usage: weconvene" in result.stderr

    def test_help_names_every_command(self) -> None:
        result = weconvene("--help")
        assert result.returncode == 0
        for command in ("encode", "decode", "info", "train", "evaluate", "certify", "data"):
            assert f"    {command} " in result.stdout

    def test_missing_training_configuration(self, tmp_path: Path) -> None:
        assert_one_sentence(weconvene("train", tmp_path / "none.json"), "none.json")

    def test_unparseable_training_configuration(self, tmp_path: Path) -> None:
        (tmp_path / "run.json").write_text("{")
        assert_one_sentence(weconvene("train", tmp_path / "run.json"), "run.json")

    def test_unknown_preset_in_a_training_configuration(self, tmp_path: Path) -> None:
        (tmp_path / "run.json").write_text('{"preset": "huge", "output": "out", "phases": []}')
        assert_one_sentence(weconvene("train", tmp_path / "run.json"), "'huge'", "lite", "tiny")

    def test_unknown_model_to_evaluate(self) -> None:
        assert_one_sentence(weconvene("evaluate", "--set", "default", "--model", "huge"), "'huge'")

    def test_unknown_image_set(self) -> None:
        assert_one_sentence(weconvene("data", "fetch", "no-such-set"), "no-such-set")

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a named pipe")
    def test_interrupt(self, tmp_path: Path) -> None:
        """Ctrl-C while reading: a pipe that nobody writes to blocks the reader for as long as we like."""
        os.mkfifo(tmp_path / "pipe")
        process = start("info", tmp_path / "pipe")
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


@pytest.mark.skipif(
    not (CHECKPOINTS / "lite.safetensors").is_file(), reason="data/checkpoints/lite.safetensors is missing"
)
class TestWithTheTrainedModel:
    """What only the shipped model can show."""

    def test_a_picture_survives_the_disk(self, photo: Path, tmp_path: Path) -> None:
        file, back = tmp_path / "out.wcv", tmp_path / "back.png"
        file.write_bytes(b"old")
        encoded = weconvene("encode", photo, file, "--quality", "4.5", "--force")
        assert encoded.returncode == 0, encoded.stderr
        assert f"{file.stat().st_size} bytes" in encoded.stdout
        facts = json.loads(weconvene("info", file, "--json").stdout)
        assert (facts["width"], facts["height"], facts["quality"], facts["tile"]) == (32, 24, 4.5, 0)
        decoded = weconvene("decode", file, back)
        assert decoded.returncode == 0, decoded.stderr
        with Image.open(back) as image:
            assert (image.size, image.mode) == ((32, 24), "RGB")

    def test_folders_and_exit_codes(self, photo: Path, tmp_path: Path) -> None:
        """One picture is refused, one is reduced to 8 bits; the others are done, and the folders below are kept."""
        shelf = tmp_path / "in"
        (shelf / "sub").mkdir(parents=True)
        photo.rename(shelf / "sub" / "photo.png")
        Image.new("CMYK", (9, 9)).save(shelf / "ink.jpg")
        Image.fromarray(np.zeros((9, 9), np.uint16)).save(shelf / "deep.png")
        (shelf / "notes.txt").write_text("no picture")
        encoded = weconvene("encode", shelf, tmp_path / "out", "--quality", "2")
        assert (encoded.returncode, encoded.stdout) == (FAILED, "2 of 3 files done\n")
        assert "ink.jpg: Pictures of mode CMYK" in encoded.stderr
        assert "deep.png: 16-bit samples are reduced" in encoded.stderr
        files = sorted(path.relative_to(tmp_path) for path in (tmp_path / "out").rglob("*.wcv"))
        assert [str(file) for file in files] == ["out/deep.wcv", "out/sub/photo.wcv"]
        (tmp_path / "out" / "bad.wcv").write_bytes(b"WCV")
        decoded = weconvene("decode", tmp_path / "out", tmp_path / "back", "--format", "webp")
        assert (decoded.returncode, decoded.stdout) == (DAMAGED, "2 of 3 files done\n")
        assert (tmp_path / "back" / "sub" / "photo.webp").is_file()

    def test_a_folder_encoded_twice_beside_its_pictures(self, photo: Path) -> None:
        for force in ([], ["--force"]):
            result = weconvene("encode", photo.parent, photo.parent, "--quality", "2", *force)
            assert result.returncode == 0, result.stderr
        assert sorted(path.name for path in photo.parent.iterdir()) == ["photo.png", "photo.wcv"]

    def test_pipes_and_previews(self, photo: Path) -> None:
        program = [sys.executable, "-m", "weconvene_core"]
        run = partial(subprocess.run, capture_output=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
        data = run([*program, "encode", "-", "-", "--quality", "6"], input=photo.read_bytes()).stdout
        assert data.startswith(b"WCV")
        back = run([*program, "decode", "-", "-", "--format", "tif"], input=data).stdout
        preview = run([*program, "decode", "--preview", "-", "-"], input=data[:-10]).stdout
        pictures = [Image.open(io.BytesIO(content)) for content in (back, preview)]
        assert [(image.format, image.size) for image in pictures] == [("TIFF", (32, 24)), ("PNG", (32, 24))]
