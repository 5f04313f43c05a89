import csv
import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mtnets.errors import DataError, OptionError
from mtnets.tasks import Images, omniglot
from mtnets.tasks.archives.archive import open_archive
from mtnets.tasks.families.omniglot import (
    PUBLISHED,
    Published,
    _drawings,
    download,
    random_split,
    read,
    vinyals_split,
)
from samples import draw, image, png

SMALL = {"images_background": Published(3, (), "", 0), "images_evaluation": Published(2, (), "", 0)}


def drawings(name: str, top: str = "") -> dict[str, bytes]:
    """Characters in the layout of the official archives, 1-bit images of 105×105."""
    alphabets = {"images_background": "Korean", "images_evaluation": "Angelic"}
    return {
        f"{top}{alphabets[name]}/character{c:02}/{c:04}_{d:02}.png": png(image(100 * c + d, 105, "1"))
        for c in range(1, SMALL[name].characters + 1)
        for d in range(1, 21)
    }


def write_all(write, kind: str, inside: str = "root") -> Path:
    roots = [
        write(f"{inside}/{name}.zip", drawings(name, f"{name}/"))
        if kind == "zip"
        else write(f"{inside}/{name}", drawings(name))
        for name in SMALL
    ]
    return roots[-1].parent


@pytest.mark.parametrize("kind", ["zip", "folder"])
@pytest.mark.parametrize("inside", ["root", "root/omniglot"])
def test_archives_and_unpacked_folders(write, tmp_path: Path, kind: str, inside: str) -> None:
    write_all(write, kind, inside)
    before = sorted((tmp_path / "root").rglob("*"))
    characters = read(tmp_path / "root", tmp_path / "cache", SMALL)
    again = read(tmp_path / "root", tmp_path / "cache", SMALL)
    assert sorted((tmp_path / "root").rglob("*")) == before
    assert list(characters) == [f"Korean/character0{i}" for i in (1, 2, 3)] + [f"Angelic/character0{i}" for i in (1, 2)]
    for name, pixels in characters.items():
        assert (pixels.shape, pixels.dtype) == ((20, 28, 28, 1), np.uint8)
        np.testing.assert_array_equal(pixels, again[name])


def test_images_are_filtered_or_of_nearest_pixels(write, tmp_path: Path) -> None:
    """The nearest pixels are those that the paper's script got, which asked Pillow to filter 1-bit images."""
    root = write_all(write, "zip")
    nearest, filtered = (
        read(root, tmp_path / "cache", SMALL, Images(28, 1, invert=True, resize=resize))
        for resize in ("nearest", "lanczos")
    )
    for c, name in enumerate(list(nearest)[:3], 1):
        for d, (pixels, smooth) in enumerate(zip(nearest[name], filtered[name], strict=True), 1):
            script = image(100 * c + d, 105, "1").resize((28, 28), resample=Image.Resampling.LANCZOS)
            np.testing.assert_array_equal(pixels[..., 0], 255 * np.asarray(script, np.uint8))
            assert len(np.unique(smooth)) > 50
    assert len(list((tmp_path / "cache").glob("omniglot-*.npy"))) == 2  # neither is taken for the other
    again = read(root, tmp_path / "cache", SMALL, Images(28, 1, invert=True, resize="nearest"))
    assert_same(again, nearest)
    assert_same(read(root, tmp_path / "cache", SMALL), filtered)  # the default, of all earlier records


def assert_same(actual: dict[str, Any], expected: dict[str, Any]) -> None:
    assert list(actual) == list(expected)
    for name, pixels in expected.items():
        np.testing.assert_array_equal(actual[name], pixels)


def test_missing_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"expected images_background\.zip.*`mtnets data omniglot --root"):
        omniglot(root=str(tmp_path))
    monkeypatch.setenv("MTNETS_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(DataError, match=r"Omniglot is not in .*elsewhere"):
        omniglot()


def test_incomplete_archives(write, tmp_path: Path) -> None:
    root = write_all(write, "zip")
    expected = SMALL | {"images_evaluation": Published(659, (), "", 0)}
    with pytest.raises(DataError, match=r"images_evaluation\.zip is not complete: found 2 char.*expected 659"):
        read(root, tmp_path / "cache", expected)
    fewer = drawings("images_evaluation", "images_evaluation/")
    del fewer["images_evaluation/Angelic/character02/0002_07.png"]
    write("root/images_evaluation.zip", fewer)
    with pytest.raises(DataError, match=r"of which Angelic/character02 has 19 drawings; expected 2 char.* 20"):
        read(root, tmp_path / "cache", SMALL)


def test_damaged_archives(write, tmp_path: Path) -> None:
    root = write_all(write, "zip")
    archive = root / "images_background.zip"
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"images_background\.zip cannot be read.*fetch it again"):
        read(root, tmp_path / "cache", SMALL)
    archive.write_bytes(whole[:150] + bytes([whole[150] ^ 0xFF]) + whole[151:])
    with pytest.raises(DataError, match=r"images_background\.zip is damaged at .*0001_01\.png"):
        read(root, tmp_path / "cache", SMALL)
    write("root/images_background.zip", drawings("images_background") | {"../x.png": b""})
    with pytest.raises(DataError, match=r"images_background\.zip has an entry that points outside"):
        read(root, tmp_path / "cache", SMALL)
    assert not (tmp_path / "cache").exists()


def test_impossible_options() -> None:
    with pytest.raises(OptionError, match="split is 'other'"):
        omniglot(split="other")  # pyright: ignore
    with pytest.raises(OptionError, match="shots is 0"):
        omniglot(shots=0)
    with pytest.raises(OptionError, match="resize is 'bilinear'"):
        omniglot(resize="bilinear")  # pyright: ignore


def sha256(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


@pytest.fixture(autouse=True)
def _without_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between tries."""
    monkeypatch.setattr("mtnets.tasks.archives.download.TRIES", 1)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def served(write, tmp_path: Path) -> Iterator[dict[str, Published]]:
    """The small archives behind a web server on this machine."""
    folder = write_all(write, "zip", "served")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield {
        name: Published(
            archive.characters,
            (f"http://127.0.0.1:{server.server_port}/{name}.zip",),
            sha256(folder / f"{name}.zip"),
            (folder / f"{name}.zip").stat().st_size,
        )
        for name, archive in SMALL.items()
    }
    server.shutdown()
    thread.join()
    server.server_close()


def test_download(served: dict[str, Published], tmp_path: Path) -> None:
    root = tmp_path / "fetched" / "here"
    paths = download(root, published=served)
    assert paths == [root / "images_background.zip", root / "images_evaluation.zip"]
    assert sorted(root.iterdir()) == sorted(paths)
    assert [sha256(path) for path in paths] == [archive.checksum for archive in served.values()]
    assert len(list((tmp_path / "cache").glob("omniglot-*.npy"))) == 1
    # What is there and whole is kept, though nothing can be fetched; also if it was packed by someone else.
    gone = {name: archive._replace(urls=(archive.urls[0] + "gone",)) for name, archive in served.items()}
    download(root, published=gone)
    download(root, published={name: archive._replace(checksum="sha256:0") for name, archive in gone.items()})
    # What is damaged is fetched again.
    paths[0].write_bytes(paths[0].read_bytes()[:-100])
    with pytest.raises(DataError, match=r"cannot be fetched \(.*gone: 404 Client Error.*yourself"):
        download(root, published=gone)
    both = {name: archive._replace(urls=(*gone[name].urls, *archive.urls)) for name, archive in served.items()}
    download(root, published=both)  # from the second place
    assert sha256(paths[0]) == served["images_background"].checksum


def test_a_wrong_checksum_or_size_leaves_no_file(served: dict[str, Published], tmp_path: Path) -> None:
    root = tmp_path / "fetched"
    for change, words in (
        ({"checksum": "sha256:" + "0" * 64}, r"expected sha256:0{64} but got [0-9a-f]{64}"),
        ({"size": 100}, "it has more bytes than the file that was published"),
    ):
        wrong = {name: archive._replace(**change) for name, archive in served.items()}
        with pytest.raises(DataError, match=words):
            download(root, published=wrong)
        assert not list(root.iterdir())


def test_no_network(tmp_path: Path) -> None:
    closed = {"images_background": Published(3, ("http://127.0.0.1:9/images_background.zip",), "sha256:0", 1)}
    with pytest.raises(DataError, match=r"cannot be fetched \(.*refused"):
        download(tmp_path, published=closed)
    assert not list(tmp_path.glob("*.zip"))


@pytest.fixture(scope="session")
def names(real_data) -> list[str]:
    """The names of all characters, from the real archives."""
    found: list[str] = []
    for name, archive in PUBLISHED.items():
        with open_archive(real_data(f"{name}.zip") / f"{name}.zip") as opened:
            files = _drawings(opened, name)
        assert len(files) == archive.characters
        found += files
    return found


def test_random_split(names: list[str]) -> None:
    split = random_split(dict.fromkeys(names), 0)
    assert {part: len(of) for part, of in split.items()} == {"train": 1100, "validation": 100, "test": 423}
    assert sorted(name for of in split.values() for name in of) == sorted(names)
    # Recorded for good: no library's generator takes part, and the order of the listing does not matter.
    assert split["test"][:2] == ("Mkhedruli_(Georgian)/character17", "Malay_(Jawi_-_Arabic)/character10")
    assert random_split(dict.fromkeys(names[::-1]), 0) == split
    assert random_split(dict.fromkeys(names), 1) != split


def test_vinyals_split(names: list[str], real_data) -> None:
    file = "omniglot_vinyals_split.csv"
    with (real_data(file) / file).open(newline="") as rows:
        published = {f"{row['alphabet']}/{row['character']}": row["split"] for row in csv.DictReader(rows)}
    split = vinyals_split(dict.fromkeys(names))
    assert {part: len(of) for part, of in split.items()} == {"train": 1028, "validation": 172, "test": 423}
    parts = {"train": "train", "validation": "val", "test": "test"}
    assert {name: parts[part] for part, of in split.items() for name in of} == published


def test_real_omniglot(real_data, tmp_path: Path) -> None:
    root = real_data("images_background.zip")
    if not (root / "images_evaluation.zip").exists():
        pytest.skip(f"images_evaluation.zip is not in {root}")
    family = omniglot(root=str(root), shots=5, queries=15, cache=str(tmp_path))
    train: Any = family.train
    assert family.inputs == Images(28, 1, invert=True)
    assert [len(of) for of in family.classes.values()] == [1100, 100, 423]
    assert train.pixels.shape == (1100, 20, 28, 28, 1)
    support, query = draw(family.test, 20)
    assert support.x.shape == (20, 25, 28, 28, 1)
    assert query.x.shape == (20, 75, 28, 28, 1)
    assert 0.03 < support.x.mean() < 0.2  # ink is 1, paper is 0
    assert (family.recipe.inner_lr, family.recipe.meta_batch, family.recipe.meta_steps) == (2.0, 32, 40_000)
    again = omniglot(root=str(root), ways=20, split="vinyals", cache=str(tmp_path))  # from the cache
    assert (again.recipe.inner_lr, again.recipe.meta_batch) == (2.0, 16)
    assert again.inputs == Images(28, 1, invert=True)
    validation: Any = again.validation
    assert validation.pixels.shape[0] == 172
    with pytest.raises(DataError, match=r"20 examples, fewer than 10 shots [+] 15 queries"):
        omniglot(root=str(root), shots=10, queries=15, cache=str(tmp_path))
