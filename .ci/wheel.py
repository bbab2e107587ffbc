"""Build the wheel, and try it as a new user would: in an empty environment, and from a folder of their own.

``.ci/wheel`` calls it, with a Python that has ``build`` and ``uv``. Where no package registry gives torch and a few
small packages, the script says so and ends well; with ``--strict`` that is a failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NEEDED = ("checkpoints/lite.safetensors", "checkpoints/lite_msssim.safetensors", "datasets/registry.csv", "py.typed")
STRANGE = ("compressai", "torchvision", "pydantic", "pooch", "scipy", "pandas")  # what the core must do without
USE = """
import sys
import numpy as np
from PIL import Image

y, x = np.mgrid[:192, :256]
picture = np.stack([x / 2 + 60, y + 20, 180 - x / 3 + 20 * np.sin(y / 9)], 2).clip(0, 255).astype(np.uint8)
if sys.argv[1] == "make":
    Image.fromarray(picture).save("photo.png")
else:
    import weconvene_core

    with Image.open("photo.wcv") as opened, Image.open("back.png") as decoded:
        assert (opened.format, opened.size) == ("WCV", (256, 192)), opened
        assert np.array_equal(np.asarray(opened), np.asarray(decoded))  # through Pillow, and by the command
        error = np.asarray(opened).astype(float) - picture
    assert np.square(error).mean() < 30, np.square(error).mean()
    print("numpy", np.__version__, "PSNR", round(10 * np.log10(255**2 / np.square(error).mean()), 2), "dB")
"""
TRAINING = """
preset = "tiny"
output = "runs/mine"
release = "mine"
[[stages]]
name = "one step"
steps = 1
learning_rate = 1e-3
final_rate = 1e-4
batch = 2
crop = 64
"""


def build(folder: Path) -> Path:
    """Put a wheel into ``dist/``, built from the source distribution; one built from the tree itself must be alike."""
    source = folder / "source"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.split("\0"):
        if name and not name.startswith("results/") and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir"]
    run([*command, folder / "dist", source], folder)
    run([*command, folder / "direct", "--wheel", source], folder)
    (wheel,), (direct,) = (sorted((folder / name).glob("*.whl")) for name in ("dist", "direct"))
    names, same = (set(zipfile.ZipFile(path).namelist()) for path in (wheel, direct))
    if names != same:
        raise SystemExit(f"the source distribution makes another wheel: {names ^ same}")
    if lacking := [name for name in NEEDED if f"weconvene_core/{name}" not in names]:
        raise SystemExit(f"the wheel lacks {lacking}")
    if strangers := [name for name in names if not name.startswith(("weconvene_core/", "weconvene_core-"))]:
        raise SystemExit(f"the wheel holds what is not its own: {strangers}")
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    for path in sorted(shutil.copytree(folder / "dist", ROOT / "dist").iterdir()):
        print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")
    return wheel


def run(command: list[object], folder: Path, code: int = 0, **environment: str) -> str:
    """Run a command in a folder, expect its exit code, and return what it printed."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "WECONVENE"))}
    done = subprocess.run(list(map(str, command)), cwd=folder, env=clean | environment, capture_output=True, text=True)
    if done.returncode != code:
        raise SystemExit(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def install(python: Path, what: str) -> None:
    """Install a wheel, torch without GPU libraries where that build can be had; ``SystemExit`` if it cannot be done."""
    command = ["uv", "pip", "install", "--quiet", "--python", python, what]
    try:
        run([sys.executable, "-m", *command, "--torch-backend", "cpu"], python.parent)
    except SystemExit:
        run([sys.executable, "-m", *command], python.parent)


def contents(folder: Path) -> set[tuple[str, int]]:
    """Return the files below a folder with their sizes."""
    return {(str(path), path.stat().st_size) for path in folder.rglob("*") if path.is_file()}


def try_it(wheel: Path, folder: Path) -> None:
    """Code a picture with the wheel alone, then train with its extra; nothing may be written beside it."""
    environment, home, work = folder / "environment", folder / "home", folder / "a folder of my own"
    home.mkdir()
    work.mkdir()
    run([sys.executable, "-m", "uv", "venv", "--quiet", "--python", sys.executable, environment], folder)
    scripts = environment / ("Scripts" if os.name == "nt" else "bin")
    python, weconvene, started = scripts / "python", scripts / "weconvene", time.monotonic()
    try:
        install(python, str(wheel))
    except SystemExit as error:
        print("The wheel was built but not tried: no package registry gave what it needs.")
        raise SystemExit(str(error) if "--strict" in sys.argv else 0) from error
    library = next(environment.rglob("weconvene_core")).parent
    print(f"installed in {time.monotonic() - started:.0f} s: {sum(size for _, size in contents(library)) / 1e6:.0f} MB")
    if found := [name for name in STRANGE if (library / name).exists()]:
        raise SystemExit(f"the core brings {found}")
    before, own = contents(library), {"HOME": str(home), "XDG_DATA_HOME": str(home / "data"), "LOCALAPPDATA": str(home)}
    own["PYTHONDONTWRITEBYTECODE"] = "1"
    (work / "use.py").write_text(USE, encoding="utf-8")
    (work / "mine.toml").write_text(TRAINING, encoding="utf-8")
    run([python, "use.py", "make"], work, **own)
    run([weconvene, "encode", "photo.png", "photo.wcv", "--quality", "3"], work, **own)
    run([weconvene, "decode", "photo.wcv", "back.png"], work, **own)
    assert '"width": 256' in run([python, "-m", "weconvene_core", "info", "photo.wcv", "--json"], work, **own)
    print(run([python, "use.py", "compare"], work, **own).strip())
    said = run([weconvene, "train", "mine.toml"], work, code=1, **own)
    assert "the extra 'train'" in said, said
    assert {path.name for path in work.iterdir()} == {"use.py", "mine.toml", "photo.png", "photo.wcv", "back.png"}
    assert contents(library) == before
    assert not any(home.iterdir())

    install(python, f"{wheel}[train]")
    before = contents(library)
    run([weconvene, "train", "mine.toml"], work, **own)
    run([weconvene, "encode", "photo.png", "mine.wcv", "--quality", "3", "--model", "mine"], work, **own)
    run([weconvene, "calibrate", "lite"], work, code=1, **own)  # a model of the package stays as it is
    assert contents(library) == before
    assert (work / "runs" / "mine").is_dir()
    assert [path.name for path in home.rglob("*.safetensors")] == ["mine.safetensors"]


def main() -> None:
    """Build and try; a failure says what went wrong."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        try_it(build(Path(name)), Path(name))
    print(f"The wheel works from another folder: {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
