"""Training configurations: read from files, checked, and what an older one means today."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lab.paths import TRAININGS
from weconvene_core.errors import WeconveneError
from weconvene_core.training.config import Stage, TrainConfig, load_config

ENTROPY = Stage("entropy", 6, 2e-3, 1e-3, batch=2, crop=64, warmup=2, transforms=False)
JOINT = Stage("joint", 6, 1e-3, 1e-4, batch=2, crop=64, w_lf=1.0, w_hf=0.9, warmup=2)


def config(folder: Path, *stages: Stage) -> TrainConfig:
    return TrainConfig("tiny", stages or (ENTROPY, JOINT), output=str(folder / "run"))


def test_schedule_warms_up_and_falls_to_its_final_rate() -> None:
    stage = Stage("p", 100, 1e-3, 1e-5, batch=1, crop=64, warmup=10)
    rates = [stage.rate_at(step) for step in range(100)]
    assert rates[0] < rates[5] < rates[10] == 1e-3
    assert rates[11:] == sorted(rates[11:], reverse=True)
    assert rates[-1] < 2e-5


def test_configuration_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config(tmp_path).to_dict()))
    assert load_config(path) == config(tmp_path)


SAID = {
    'steps = 10.5': "stages[1].steps=10.5 is impossible",
    'batch = true': "stages[1].batch=True is impossible",
    'crop = 50': "stages[1].crop=50 is impossible: it should be a multiple of 32",
    'warmup = -1': "stages[1].warmup=-1",
    'learning_rate = "1e-3"': "stages[1].learning_rate='1e-3' is impossible: it should be a valid number",
    'learning_rate = 0': "stages[1].learning_rate=0",
    'learning_rate = nan': "stages[1].learning_rate=nan",
    'final_rate = 1.0': "stages[1]: final_rate=1.0 is above learning_rate=0.001",
    'transforms = 1': "stages[1].transforms=1",
    'lerning_rate = 1e-3': "stages[1].lerning_rate is unknown: perhaps learning_rate is meant",
}  # fmt: skip
SAID_OF_RUN = {
    'ema_decay = "0.9"': "ema_decay='0.9' is impossible: it should be a valid number",
    'ema_decay = 1': "ema_decay=1 is impossible: it should be less than 1",
    'ema_dekay = 0.9': "ema_dekay is unknown: perhaps ema_decay is meant",
    'gpus = 8': "gpus is unknown: known are preset, stages",
    'log_every = 0': "log_every=0 is impossible: it should be greater than or equal to 1",
    'clip_norm = -1': "clip_norm=-1 is impossible: it should be greater than 0",
    'clip_norm = inf': "clip_norm=inf",
    'seed = -1': "seed=-1", 'seed = 1.5': "seed=1.5", 'seed = true': "seed=True", 'seed = "0"': "seed='0'",
    'qualities = [1]': "qualities[1] is missing",
    'qualities = [1, 7.5]': "qualities[1]=7.5",
    'validate_qualities = [0, 9]': "validate_qualities[1]=9",
    'quality_exponent = 0': "quality_exponent=0",
    'scale_min = 0.1': "scale_min=0.1", 'synthetic_share = 0.6': "synthetic_share=0.6 is impossible: it should be less",
    'optimizer = "sgd"': "optimizer='sgd' is impossible: it should be 'adam' or 'soap'",
    'metric = "ms_ssim"': "stages[0].crop=64 is impossible: metric='ms_ssim' needs 192",
    'trains = "g_a"': "trains='g_a' is impossible: it should be a list",
    'images = []': "images=[] is impossible: it should not be empty",
    'images = ["a", 3]': "images[1]=3",
    'release = "../../x"': "release='../../x' is impossible: it should be a plain name",
    'release = "/tmp/x"': "release='/tmp/x'", 'release = ""': "release=''", 'start_from = "a/b"': "start_from='a/b'",
    'model = {narow = 3}': "model.narow is unknown: perhaps narrow is meant",
    'model = {narrow = "64"}': "model.narrow='64' is impossible: it should be a valid integer",
    'model = {narrow = 0}': "model: narrow=0 is impossible; use 1 or more",
    'preset = "huge"': "preset='huge' is impossible: it should be 'paper', 'paper-2d', 'baseline', 'lite' or 'tiny'",
    'preset = "paper"\nmodel = {quality = 9}': "model: quality=9",
    'output = "."': "output='.' is impossible: it should name a folder",
    'output = ""': "output=''", 'output = ".."': "output='..'",
    'stages = []': "stages=[] is impossible: it should not be empty",
    'stages = 3': "stages=3 is impossible: it should be a list",
    'stages = [3]': "stages[0]=3 is impossible: it should be a table",
}  # fmt: skip


def toml(stage: str = "", **run: str) -> str:
    """A configuration that is right, but for lines that replace or follow its own."""
    good = ['name = "a"', "steps = 6", "learning_rate = 1e-3", "final_rate = 1e-3", "batch = 2", "crop = 64"]
    other = [line for line in good if line.split()[0] != stage.split(" ")[0]] + [stage] * bool(stage)
    stages = "stages = [" + ", ".join("{" + ", ".join(lines) + "}" for lines in (good, other)) + "]"
    return "\n".join(({"preset": 'preset = "tiny"', "output": 'output = "runs/x"', "stages": stages} | run).values())


@pytest.mark.parametrize(
    ("text", "said"),
    [(toml(line), said) for line, said in SAID.items()]
    + [(toml(**{line.split()[0]: line}), said) for line, said in SAID_OF_RUN.items()],
    ids=[*SAID, *SAID_OF_RUN],
)
def test_a_mistake_is_one_sentence_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(toml())
    assert load_config(path).total_steps == 12
    path.write_text(text)
    with pytest.raises(WeconveneError) as raised:
        load_config(path)
    sentence = str(raised.value)
    assert sentence.startswith(f"{path}: ")
    assert said in sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", b"{", "not valid JSON"), ("a.json", b"", "not valid JSON"), ("a.toml", b"", "preset is missing"),
        ("a.toml", b"preset = x", "not valid TOML: .* line 1"), ("a.json", b'["tiny"]', "not a table of names"),
        ("a.toml", toml().encode("utf-16"), "not UTF-8"), ("a.json", b"[" * 100_000, "not valid JSON"),
    ],
)  # fmt: skip
def test_files_that_are_no_configuration(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeconveneError, match=f"{name}: .*{said}"):
        load_config(tmp_path / name)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.json"):
        with pytest.raises(WeconveneError, match="cannot be read"):
            load_config(path)


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    """Windows' editor writes it."""
    (tmp_path / "run.TOML").write_bytes(b"\xef\xbb\xbf" + toml().encode())
    assert load_config(tmp_path / "run.TOML").preset == "tiny"


def test_what_is_built_in_python_is_checked_alike(tmp_path: Path) -> None:
    with pytest.raises(WeconveneError, match="crop=50 is impossible: it should be a multiple of 32"):
        replace(ENTROPY, crop=50)
    with pytest.raises(WeconveneError, match="steps=0 is impossible"):
        Stage("p", 0, 1e-3, 1e-3, 1, 64)
    with pytest.raises(WeconveneError, match=r"stages\[0\].crop=32 is impossible: the preset 'paper' needs"):
        replace(config(tmp_path, replace(ENTROPY, crop=32)), preset="paper")
    assert replace(config(tmp_path), images="photos").images == ("photos",)


def test_older_configurations_go_on_under_the_names_of_today(tmp_path: Path) -> None:
    today = config(tmp_path)
    older = json.loads(json.dumps(today.to_dict()))
    older["phases"] = older.pop("stages")
    older |= {"pack_steps": 1000, "compile": False, "tensorboard": False, "clip_norm": 1, "images": "photos"}
    del older["synthetic_images"]
    today = replace(today, images=("photos",))
    assert TrainConfig.from_dict(older) == today
    assert today.goes_on_from(TrainConfig.from_dict(older), 3)


@pytest.mark.parametrize("path", sorted(TRAININGS.glob("*.toml")), ids=lambda path: path.stem)
def test_configurations_that_ship_are_valid(path: Path) -> None:
    assert load_config(path).total_steps > 0
