"""Image sets: the embedded default, folders of the reader, registered sets, and downloads from a local server."""

import csv
import functools
import http.server
import io
import os
import shutil
import threading
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lab.rd.measure import _measure_job
from lab.rd.pillow_codecs import WEBP
from lab.rd.published_curves import DATASETS, anchors_of
from weconvene_core.atomic_files import sha256_of
from weconvene_core.codec.pictures import PictureWarning, load_rgb
from weconvene_core.datasets.image_sets import (
    IncompleteSetError,
    folder_set,
    image_set,
    test_set,
    training_set,
)
from weconvene_core.datasets.registry import REGISTRY, UNKNOWN_HASH, fetch, load_registry
from weconvene_core.errors import WeconveneError
from weconvene_core.paths import cache_folder
from weconvene_core.training.images import decode

KODAK = Path(os.environ.get("WECONVENE_DATA", "")) / "kodak"
needs_kodak = pytest.mark.skipif(not KODAK.is_dir(), reason="the Kodak images are not available")
FIELDS = ["name", "set", "url", "sha256", "licence", "width", "height", "members", "images", "dataset"]
CLIC = "professional_valid_2020.zip"  # its name in the registry, by which image_set finds the record


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """No images but those that a test puts there."""
    monkeypatch.delenv("WECONVENE_DATA", raising=False)
    monkeypatch.setenv("WECONVENE_CACHE", str(tmp_path / "cache"))
    return tmp_path


def put_images(folder, count, size=(24, 16)):
    folder.mkdir(parents=True)
    for i in range(count):
        pixels = np.random.default_rng(i).integers(0, 256, (size[1], size[0], 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"photo{i}.png")
    return folder


def test_default_needs_nothing_but_the_wheel():
    found = image_set("default")
    assert found.label == "scikit-image photographs, 4 images"
    with REGISTRY.open(newline="") as rows:
        sizes = {r["name"]: (int(r["width"]), int(r["height"])) for r in csv.DictReader(rows) if r["set"] == "default"}
    assert {path.name: load_rgb(path).size for path in found.paths} == sizes


def test_a_part_of_a_set_is_another_set():
    part = image_set("default", limit=2)
    assert (part.name, part.label, len(part)) == (
        "default-first2",
        "scikit-image photographs, first 2 of 4 images",
        2,
    )
    assert image_set("default", limit=9) == image_set("default")
    with pytest.raises(WeconveneError, match="leaves none"):
        image_set("default", limit=0)


def test_without_kodak_the_default_is_the_test_set():
    assert test_set() == image_set("default")
    assert test_set(limit=1).name == "default-first1"


@needs_kodak
def test_kodak_carries_its_name_when_all_of_it_is_there(places, monkeypatch):
    monkeypatch.setenv("WECONVENE_DATA", str(KODAK.parent))
    assert (test_set().name, test_set().label) == ("kodak", "Kodak, 24 images")
    assert image_set("kodak", 3).label == "Kodak, first 3 of 24 images"


@needs_kodak
def test_an_unregistered_picture_in_the_folder_is_named_by_hash_and_left_out(places, monkeypatch):
    folder = put_images(places / "data" / "kodak", 1)
    for entry in load_registry("kodak"):
        (folder / entry.name).symlink_to(KODAK / entry.name)
    monkeypatch.setenv("WECONVENE_DATA", str(places / "data"))
    with pytest.warns(UserWarning, match=rf"photo0.png \(sha256 {sha256_of(folder / 'photo0.png')[:12]}"):
        found = image_set("kodak")
    assert (found.name, len(found)) == ("kodak", 24)
    assert folder / "photo0.png" not in found.paths


def test_missing_and_altered_kodak_images_are_named(places, monkeypatch):
    folder = places / "data" / "kodak"
    put_images(folder, 1)
    (folder / "photo0.png").rename(folder / "kodim07.png")
    monkeypatch.setenv("WECONVENE_DATA", str(places / "data"))
    with pytest.raises(WeconveneError, match=r"kodim01.png is missing.*kodim07.png is altered"):
        image_set("kodak")
    with pytest.warns(UserWarning, match="kodim07.png is altered"):
        assert test_set().name == "default"
    (folder / "kodim07.png").unlink()
    with warnings.catch_warnings():  # an empty folder, as a failed download leaves it, is no set
        warnings.simplefilter("error")
        assert test_set().name == "default"


def test_loose_clic_images_never_carry_the_sets_name(places, monkeypatch):
    put_images(places / "clic", 9)
    monkeypatch.setenv("WECONVENE_DATA", str(places))
    assert (image_set("clic").name, image_set("clic").label) == ("clic-9images", "9 images from CLIC 2020")
    assert image_set("clic", 1).label == "first 1 of 9 images from CLIC 2020"


def test_any_folder_is_a_set(places, monkeypatch):
    put_images(places / "holiday", 2)
    (places / "holiday" / "notes.txt").write_text("not an image")
    monkeypatch.setenv("WECONVENE_DATA", str(places))
    assert image_set("holiday").label == "holiday, 2 images"
    assert folder_set(places / "holiday").paths == image_set("holiday").paths


def test_bad_folders_get_one_clear_sentence(places, monkeypatch):
    with pytest.raises(WeconveneError, match="'tecnick' is not available"):
        image_set("tecnick")
    with pytest.raises(WeconveneError, match="There is no folder"):
        folder_set(places / "nowhere")
    (places / "empty").mkdir()
    monkeypatch.setenv("WECONVENE_DATA", str(places))
    with pytest.raises(WeconveneError, match="holds no images"):
        image_set("empty")
    monkeypatch.setenv("WECONVENE_DATA", str(places / "nowhere"))
    for call in (test_set, training_set, lambda: image_set("kodak")):
        with pytest.raises(WeconveneError, match="is not a folder"):
            call()


def test_training_set(places, monkeypatch):
    assert training_set() == image_set("default")
    put_images(places / "train", 1)
    monkeypatch.setenv("WECONVENE_DATA", str(places))
    assert training_set() == folder_set(places / "train")


def test_unreadable_images_are_named(places):
    whole = io.BytesIO()
    load_rgb(image_set("default").paths[0]).save(whole, "PNG")
    broken = {"cut.png": whole.getvalue()[:5000], "empty.png": b"", "text.png": b"not an image at all"}
    for name, content in broken.items():
        (places / name).write_bytes(content)
        with pytest.raises(WeconveneError, match=name):
            load_rgb(places / name)
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(places / "deep.png")
    with pytest.warns(PictureWarning, match="8 bits"):
        load_rgb(places / "deep.png")
    with pytest.raises(WeconveneError, match="gone.png"):
        load_rgb(places / "gone.png")


def test_grey_and_alpha_become_rgb(places):
    Image.new("L", (3, 2), 7).save(places / "grey.png")
    Image.new("RGBA", (3, 2), (1, 2, 3, 4)).save(places / "alpha.png")
    assert load_rgb(places / "grey.png").getpixel((0, 0)) == (7, 7, 7)
    assert load_rgb(places / "alpha.png").getpixel((0, 0)) == (1, 2, 3)


def test_training_and_measuring_see_pictures_as_viewers_do(places):
    """One reader for all: a camera's orientation tag turns the picture, whoever reads it."""
    wanted, exif = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.ascontiguousarray(np.rot90(wanted))).save(places / "turned.png", exif=exif)
    Image.fromarray(wanted).save(places / "upright.png")
    np.testing.assert_array_equal(np.asarray(load_rgb(places / "turned.png")), wanted)
    np.testing.assert_array_equal(decode([places / "turned.png"])[places / "turned.png"], wanted)
    turned, upright = (_measure_job((WEBP, places / name, 50)) for name in ("turned.png", "upright.png"))
    assert (turned.bpp, turned.psnr_db) == (upright.bpp, upright.psnr_db)


def test_the_registry_invents_no_hash():
    entries = [entry for name in ("kodak", "default", "clic", "tecnick") for entry in load_registry(name)]
    with REGISTRY.open(newline="") as rows:
        assert all(row["licence"] for row in csv.DictReader(rows))
    assert len(entries) == 24 + 4 + 2
    for entry in entries:
        assert entry.url.startswith("https://")
        if entry.sha256 is not None:
            assert len(bytes.fromhex(entry.sha256)) == 32
    archives = [entry for entry in entries if entry.sha256 is None]
    assert [entry.set for entry in archives] == ["clic", "tecnick"]
    assert {e.dataset: e.images for e in archives} == {name: DATASETS[name][1] for name in DATASETS if name != "kodak"}
    assert all(entry.images == 1 for entry in entries if entry not in archives)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def server(places):
    """A web server on this machine with three photographs and an archive of two of them."""
    root = put_images(places / "web", 3)
    with zipfile.ZipFile(root / "set.zip", "w") as archive:
        for name in ("photo0.png", "photo1.png"):
            archive.write(root / name, f"valid/{name}")
        archive.writestr("__MACOSX/valid/._photo0.png", b"resource fork")
        archive.writestr("other/readme.txt", b"text")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=root)) as web:
        threading.Thread(target=web.serve_forever, args=(0.01,), daemon=True).start()
        yield root, f"http://127.0.0.1:{web.server_port}"
        web.shutdown()


def write_registry(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_fetch_verifies_every_image_and_resumes(places, server):
    root, url = server
    names = [f"photo{i}.png" for i in range(3)]
    rows = [{"name": n, "set": "three", "url": f"{url}/{n}", "sha256": sha256_of(root / n)} for n in names]
    registry = write_registry(places / "registry.csv", rows)
    folder = fetch("three", registry)
    assert folder == cache_folder("three")
    assert sorted(path.name for path in folder.iterdir()) == names
    shutil.rmtree(root)  # what is there and intact is not asked for again
    assert fetch("three", registry) == folder
    (folder / "photo1.png").write_bytes(b"altered")
    with pytest.raises(WeconveneError, match="Could not get photo1.png"):
        fetch("three", registry)


def test_fetch_refuses_a_file_with_another_hash(places, server):
    _, url = server
    row = {"name": "photo0.png", "set": "one", "url": f"{url}/photo0.png", "sha256": "0" * 64}
    with pytest.raises(WeconveneError, match="Could not get photo0.png"):
        fetch("one", write_registry(places / "registry.csv", [row]))
    assert not (cache_folder("one") / "photo0.png").exists()


def test_an_archive_without_a_known_hash_is_held_to_its_first_images(places, server):
    root, url = server
    row = {"name": "set.zip", "set": "clic", "url": f"{url}/set.zip", "sha256": UNKNOWN_HASH, "members": "valid/*.png"}
    registry = write_registry(places / "registry.csv", [row])
    folder = fetch("clic", registry)
    assert image_set("clic").label == "2 images from CLIC 2020"
    (folder / "set.zip").unlink()
    with zipfile.ZipFile(root / "set.zip", "a") as archive:
        archive.writestr("valid/new.png", b"another archive now")
    with pytest.raises(WeconveneError, match="set.zip no longer holds what .* new.png is new"):
        fetch("clic", registry)


@pytest.fixture
def fetch_clic(places, server):
    """Download an archive of tiny photographs under the name of CLIC's, some of them ``altered``."""
    root, url = server
    row = {"name": CLIC, "set": "clic", "url": f"{url}/{CLIC}", "sha256": UNKNOWN_HASH, "members": "valid/*.png"}
    registry = write_registry(places / "registry.csv", [row])

    def run(count, **altered):
        with zipfile.ZipFile(root / CLIC, "w") as archive:
            for i in range(count):
                file = io.BytesIO()
                Image.new("RGB", (2, 2), (i, 0, 0)).save(file, "PNG")
                archive.writestr(f"valid/photo{i:02}.png", altered.get(f"photo{i:02}", file.getvalue()))
        return fetch("clic", registry)

    return run


def test_a_whole_archive_has_its_images_recorded_and_carries_the_published_name(fetch_clic):
    folder = fetch_clic(41)
    with (folder / f"{CLIC}.members.csv").open(newline="") as rows:
        recorded = {row["name"]: row["sha256"] for row in csv.DictReader(rows)}
    assert recorded == {path.name: sha256_of(path) for path in folder.glob("*.png")}
    found, part = image_set("clic"), image_set("clic", 3)
    assert (found.name, len(found)) == ("clic2020_professional", 41)
    assert found.label == "CLIC 2020 professional, 41 images (hashes recorded at download)"
    assert list(found.paths) == sorted(found.paths)
    assert part.label == "CLIC 2020 professional, first 3 of 41 images (hashes recorded at download)"
    assert part.name == "clic2020_professional-first3"
    assert anchors_of(found.name) == ["C-L", "C-T", "C-M"]
    assert anchors_of(part.name) == []
    assert folder_set(folder).name == "clic-41images"  # a folder that nobody asked to verify


def test_another_number_of_images_than_registered_goes_by_that_number(fetch_clic):
    fetch_clic(40)
    assert image_set("clic").name == "clic-40images"
    assert image_set("clic").label == "40 images from CLIC 2020 (hashes recorded at download)"
    assert image_set("clic", 3).name == "clic-first3"


def test_images_of_an_archive_are_held_to_its_record(fetch_clic):
    folder = fetch_clic(41)
    (folder / "photo07.png").unlink()
    Image.new("RGB", (2, 2)).save(folder / "photo40.png")
    with pytest.raises(IncompleteSetError, match=r"not as recorded: photo07.png is missing, photo40.png is altered"):
        image_set("clic")
    fetch_clic(41)  # what is there is unpacked again where it is not as recorded
    shutil.copyfile(folder / "photo00.png", folder / "more.png")
    named = rf"not recorded: more.png \(sha256 {sha256_of(folder / 'more.png')[:12]}\.\.\.\)\."
    with pytest.warns(UserWarning, match=named):
        found = image_set("clic")
    assert found.name == "clic2020_professional"
    assert folder / "more.png" not in found.paths
    (folder / f"{CLIC}.members.csv").write_text("name,sha256\nphoto00.png,12\n")
    with pytest.raises(WeconveneError, match=r"record .* is damaged"):
        image_set("clic")


def test_a_folder_with_the_record_is_verified_wherever_it_lies(fetch_clic, places, monkeypatch):
    shutil.copytree(fetch_clic(41), places / "data" / "clic")
    monkeypatch.setenv("WECONVENE_DATA", str(places / "data"))
    assert image_set("clic").name == "clic2020_professional"
    (places / "data" / "clic" / f"{CLIC}.members.csv").unlink()
    assert image_set("clic").name == "clic-41images"


def test_an_archive_that_no_longer_agrees_with_the_record_is_refused(fetch_clic):
    folder = fetch_clic(4)
    before = {path.name: path.read_bytes() for path in folder.glob("photo*")}
    (folder / CLIC).unlink()  # so that it is downloaded again
    said = r"photo01.png is altered \(sha256 .*, expected .*\), photo03.png is missing; delete that record"
    with pytest.raises(WeconveneError, match=said):
        fetch_clic(3, photo01=b"another picture now")
    assert {path.name: path.read_bytes() for path in folder.glob("photo*")} == before
    (folder / CLIC).unlink()
    with pytest.raises(WeconveneError, match="photo04.png is new"):
        fetch_clic(5)
    (folder / f"{CLIC}.members.csv").unlink()
    fetch_clic(5)
    assert image_set("clic").name == "clic-5images"


def test_images_of_one_name_in_an_archive_are_refused(places, server):
    root, url = server
    with zipfile.ZipFile(root / "set.zip", "a") as archive:
        archive.writestr("valid/more/photo0.png", b"another picture")
    row = {"name": "set.zip", "set": "clic", "url": f"{url}/set.zip", "sha256": UNKNOWN_HASH, "members": "valid/*.png"}
    with pytest.raises(WeconveneError, match=r"several images of one name \(valid/photo0.png\)"):
        fetch("clic", write_registry(places / "registry.csv", [row]))
    assert not list(cache_folder("clic").glob("*.png"))


def test_a_broken_or_foreign_archive_gets_one_clear_sentence(places, server):
    root, url = server
    row = {"name": "set.zip", "set": "clic", "url": f"{url}/set.zip", "sha256": UNKNOWN_HASH, "members": "*.tiff"}
    with pytest.raises(WeconveneError, match="holds no image"):
        fetch("clic", write_registry(places / "registry.csv", [row]))
    (root / "page.zip").write_text("<html>moved</html>")
    row |= {"name": "page.zip", "url": f"{url}/page.zip"}
    with pytest.raises(WeconveneError, match="not a readable archive"):
        fetch("clic", write_registry(places / "registry.csv", [row]))
    assert not (cache_folder("clic") / "page.zip").exists()


def test_fetch_of_an_unknown_set_or_without_connection(places):
    with pytest.raises(WeconveneError, match="No address is known"):
        fetch("imagenet")
    row = {"name": "a.png", "set": "far", "url": "http://127.0.0.1:9/a.png", "sha256": "0" * 64}
    with pytest.raises(WeconveneError, match="Could not get a.png"):
        fetch("far", write_registry(places / "registry.csv", [row]))
