"""The command line as users meet it: in processes of its own, with real files, above all the wrong ones."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from weconvene_core.codec.container import Container, pack
from weconvene_core.paths import CHECKPOINTS, ROOT

FOREIGN_MODEL = Container("unheard-of", bytes(8), 32, 24, "RGB", 3.0, (b"abc", b"de"))


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "weconvene_core.cli", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def weconvene(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    process = start(*arguments)
    output, errors = process.communicate(timeout=240)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def assert_one_sentence(result: subprocess.CompletedProcess[str], *said: str) -> None:
    """Exit code 1, nothing on stdout, one line on stderr that names the cause."""
    assert result.returncode == 1, result.stderr
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

    def test_output_that_is_a_folder(self, photo: Path, tmp_path: Path) -> None:
        assert_one_sentence(weconvene("encode", photo, tmp_path, "--quality", "3", "--force"), "is a folder")

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
    def test_output_folder_without_permission(self, photo: Path, tmp_path: Path) -> None:
        (tmp_path / "locked").mkdir(mode=0o500)
        result = weconvene("encode", photo, tmp_path / "locked" / "out.wcv", "--quality", "3")
        assert_one_sentence(result, "may not be written")

    @pytest.mark.parametrize("quality", ["0.999", "6.001", "nan", "-3", "inf", "fine"])
    def test_quality_out_of_range(self, photo: Path, tmp_path: Path, quality: str) -> None:
        result = weconvene("encode", photo, tmp_path / "out.wcv", f"--quality={quality}")
        assert result.returncode == 2
        assert "from 1 to 6" in result.stderr
        assert "Traceback" not in result.stderr


class TestDecode:
    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"", "not a WeConvene file"),
            (b"\xff\xd8\xff\xe0 a JPEG, say", "not a WeConvene file"),
            (pack(FOREIGN_MODEL)[:-9], "truncated"),
            (pack(FOREIGN_MODEL)[:-1] + b"!", "checksum"),
            (b"WCV\x09" + pack(FOREIGN_MODEL)[4:], "version 9"),
            (pack(FOREIGN_MODEL), "'unheard-of'"),
        ],
    )
    def test_damaged_and_foreign_files(self, tmp_path: Path, content: bytes, said: str) -> None:
        (tmp_path / "in.wcv").write_bytes(content)
        assert_one_sentence(weconvene("decode", tmp_path / "in.wcv", tmp_path / "out.png"), said)
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
        assert (facts["model"], facts["weights"], facts["stream_bytes"]) == ("unheard-of", "00" * 8, [3, 2])
        text = weconvene("info", compressed).stdout
        assert [line.split(maxsplit=1)[0] for line in text.splitlines()] == list(facts)

    def test_foreign_file(self, photo: Path) -> None:
        assert_one_sentence(weconvene("info", photo), "not a WeConvene file")

    def test_folder(self, tmp_path: Path) -> None:
        assert_one_sentence(weconvene("info", tmp_path), "Is a directory")

    def test_torch_is_not_loaded(self, compressed: Path) -> None:
        """It takes seconds, and nothing here computes."""
        code = "import sys; from weconvene_core.cli import main; main(sys.argv[1:]); print('torch' in sys.modules)"
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
        assert result.returncode == 2
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
        assert process.returncode == 130
        assert errors.startswith("weconvene: Interrupted")
        assert errors.count("\n") == 1


@pytest.mark.skipif(
    not (CHECKPOINTS / "lite.safetensors").is_file(), reason="data/checkpoints/lite.safetensors is missing"
)
class TestWithTheTrainedModel:
    """What only the shipped model can show."""

    def test_a_picture_survives_the_disk(self, photo: Path, tmp_path: Path) -> None:
        file, back = tmp_path / "out.wcv", tmp_path / "back.png"
        encoded = weconvene("encode", photo, file, "--quality", "4.5")
        assert encoded.returncode == 0, encoded.stderr
        assert f"{file.stat().st_size} bytes" in encoded.stdout
        facts = json.loads(weconvene("info", file, "--json").stdout)
        assert (facts["width"], facts["height"], facts["model"], facts["quality"]) == (32, 24, "lite", 4.5)
        decoded = weconvene("decode", file, back)
        assert decoded.returncode == 0, decoded.stderr
        with Image.open(back) as image:
            assert (image.size, image.mode) == ((32, 24), "RGB")

    def test_force_replaces(self, photo: Path, tmp_path: Path) -> None:
        file = tmp_path / "out.wcv"
        file.write_bytes(b"old")
        assert weconvene("encode", photo, file, "--quality", "1", "--force").returncode == 0
        assert file.read_bytes().startswith(b"WCV")
