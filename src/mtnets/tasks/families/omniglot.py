"""Omniglot: 1623 handwritten characters of 50 alphabets, each drawn by 20 people."""

import dataclasses
import hashlib
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mtnets.arguments import Seed
from mtnets.errors import DataError, OptionError
from mtnets.networks.models import Conv4
from mtnets.tasks.archives.archive import Archive, fingerprint, open_archive
from mtnets.tasks.archives.cache import cached
from mtnets.tasks.archives.download import fetch, has_checksum
from mtnets.tasks.archives.locations import cache_folder, data_root
from mtnets.tasks.archives.progress_bar import track
from mtnets.tasks.family import Family, Options, Recipe
from mtnets.tasks.inputs.image_files import Resize, is_image
from mtnets.tasks.inputs.images import Images
from mtnets.tasks.sampling.augmented import Where, check_augment, warn_of_flips, with_augment
from mtnets.tasks.sampling.draws import check_episode
from mtnets.tasks.sampling.episodes import Episodes

IMAGES = Images(size=28, channels=1, invert=True)
DRAWINGS = 20


class Published(NamedTuple):
    """One of the two official archives.

    Attributes:
      characters: number of characters in it.
      urls: where it is published.
      checksum: of the published file, `"sha256:…"`.
      size: of the published file, in bytes.
    """

    characters: int
    urls: tuple[str, ...]
    checksum: str
    size: int


_FOLDERS = (
    "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/",
    "https://github.com/brendenlake/omniglot/raw/master/python/",
)
# Checksums and sizes are those of TensorFlow Datasets' registry (url_checksums/omniglot.txt). The MD5s that torchvision
# publishes for the same files are 68d2efa1b9178cc56df9314c21c6e718 and 6b91aef0f799c5bb55b94e3f2daec811.
PUBLISHED = {
    "images_background": Published(
        964,
        tuple(f"{folder}images_background.zip" for folder in _FOLDERS),
        "sha256:ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640",
        9_464_212,
    ),
    "images_evaluation": Published(
        659,
        tuple(f"{folder}images_evaluation.zip" for folder in _FOLDERS),
        "sha256:1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee",
        6_462_886,
    ),
}

# Vinyals et al. validate on these alphabets of the background archive.
_VALIDATION = frozenset(("Armenian", "Bengali", "Early_Aramaic", "Hebrew", "Mkhedruli_(Georgian)"))


@dataclasses.dataclass(frozen=True)
class Omniglot(Options):
    """Omniglot as in MAML and the MT-net paper: 28×28, ink 1 on 0, drawn classes turned by multiples of 90°.

    Attributes:
      root: folder with `images_background.zip` and `images_evaluation.zip`, or with these unpacked, or with a folder
        `omniglot` of either. Defaults to `$MTNETS_DATA` or `data`.
      ways: classes of a task.
      shots: support examples of each class.
      queries: query examples of each class.
      split: `random`: 1100 characters to train on, 100 for validation, 423 for test; `vinyals`: 1028, 172, 423.
      split_seed: seed of the random split.
      rotations: whether each drawn class is turned by a random multiple of 90°, at test too.
      cache: folder for the unpacked images. Defaults to `$MTNETS_CACHE` or `~/.cache/mtnets`.
      network: the usual network of the family.
      resize: how drawings of 105×105 become 28×28. `nearest` is the papers': each pixel is the nearest one, ink or
        paper, and lines break. `lanczos` makes drawings grey and filters them, which is easier to learn from. It is
        the default because what was recorded before there was a choice was made so.
      augment: how each training image is changed as it is drawn: crop, rotate, erase, colour(saturation=0), flip,
        one after the other, with options in brackets: 'crop(padding=2)'. Validation and test tasks are never changed.
      augment_where: whether all images of a training task are changed, or those of its query or support set alone.

    References:
      Lake, Salakhutdinov & Tenenbaum, Human-level concept learning through probabilistic program induction,
      Science 2015, https://github.com/brendenlake/omniglot.
      Vinyals et al., Matching Networks for One Shot Learning, NeurIPS 2016, arXiv 1606.04080 (the split).
      Lee & Choi, ICML 2018, arXiv 1801.05558 (the recipe, from its code).
    """

    family: ClassVar[str] = "omniglot"
    data_option: ClassVar[str | None] = "root"

    root: str = ""
    ways: int = 5
    shots: int = 1
    queries: int = 1
    split: Literal["random", "vinyals"] = "random"
    split_seed: Seed = 0
    rotations: bool = True
    cache: str = ""
    network: Conv4 = Conv4()
    resize: Resize = "lanczos"
    augment: tuple[str, ...] = ()
    augment_where: Where = "all"

    def build(self) -> Family:
        """The family. The first call unpacks the archives, which takes under a minute.

        Raises:
          OptionError: ways below 2, shots or queries below 1, an unknown split or way to resize, augmentations that do
            not exist or mean nothing for ink on paper.
          DataError: the archives are absent, damaged or incomplete, or have too few drawings for such tasks.
        """
        check_episode(self.ways, self.shots, self.queries)
        check_augment(self.augment, self.augment_where)
        warn_of_flips(self.augment)
        if self.split not in ("random", "vinyals"):
            raise OptionError(f"split is {self.split!r}; it must be 'random' or 'vinyals'.")
        images = dataclasses.replace(IMAGES, resize=self.resize)
        drawings = read(data_root(self.root), cache_folder(self.cache), images=images)
        classes = vinyals_split(drawings) if self.split == "vinyals" else random_split(drawings, self.split_seed)
        train, validation, test = (
            Episodes.of(
                {name: drawings[name] for name in classes[part]}, images, ways=self.ways, shots=self.shots,
                queries=self.queries, rotations=self.rotations, split=part,
            )
            for part in ("train", "validation", "test")
        )  # fmt: skip
        # The paper's code adds its cross-entropy up over N·K examples and divides by K, N times our mean: its
        # rates .4 at 5 ways and .1 at 20 ways are both 2.0 here, and so is ours for any other number of ways.
        recipe = Recipe(inner_lr=2.0, inner_steps=1, meta_batch=16 if self.ways >= 20 else 32, meta_steps=40_000)
        family = Family(
            train, validation, test, "cross-entropy", recipe,
            lambda: self.network.build(self.ways, images.size, images.channels),
            options=self, inputs=images, classes=classes,
        )  # fmt: skip
        return with_augment(family, self.augment, self.augment_where)


def random_split(names: Mapping[str, Any], seed: int) -> dict[str, tuple[str, ...]]:
    """1100 / 100 / 423 characters at random, in order of the SHA-256 of `seed:name`, which no change of a library's
    random generator can alter."""
    # Differs from Lee & Choi (2018): their split follows the order of a directory listing, their code drops
    # one training class and tests on the 100 validation classes.
    order = sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    return {"train": tuple(order[:1100]), "validation": tuple(order[1100:1200]), "test": tuple(order[1200:])}


def vinyals_split(names: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """1028 / 172 / 423 characters after Vinyals et al. (2016): the first 1200 in order, of which five alphabets are for
    validation, and the rest for test."""
    order = list(names)
    held = [name.split("/")[0] in _VALIDATION for name in order[:1200]]
    return {
        "train": tuple(name for name, out in zip(order, held, strict=False) if not out),
        "validation": tuple(name for name, out in zip(order, held, strict=False) if out),
        "test": tuple(order[1200:]),
    }


def read(
    root: Path, cache: Path, published: Mapping[str, Published] = PUBLISHED, images: Images = IMAGES
) -> dict[str, NDArray[np.uint8]]:
    """Every character's drawings, dark ink on light paper, `[20, 28, 28, 1]`, by `Alphabet/characterNN`.

    They come in order of archive (background first), alphabet and character.

    Args:
      root: the folder of the archives, or of the unpacked folders.
      cache: where the array is kept for the next time.
      published: the archives that are expected there.
      images: how drawings are read.

    Raises:
      DataError: they are absent, damaged, or not complete.
    """
    paths = [_find(root, name) for name in published]
    key = "omniglot-" + fingerprint(str(images.size), images.resize, *(_fingerprint(path) for path in paths))

    def unpack_all() -> tuple[NDArray[np.uint8], list[str]]:
        parts = [
            _unpack(path, name, published[name].characters, images) for path, name in zip(paths, published, strict=True)
        ]
        names = [name for part in parts for name in part]
        return np.stack([drawings for part in parts for drawings in part.values()])[..., 0], names

    pixels, names = cached(cache, key, unpack_all)
    return dict(zip(names, pixels[..., None], strict=True))


def _find(root: Path, name: str) -> Path:
    for folder in (root, root / "omniglot"):
        for path in (folder / f"{name}.zip", folder / name):
            if path.exists():
                return path
    raise DataError(
        f"Omniglot is not in {root}: expected {name}.zip or the folder {name} there (or in {root / 'omniglot'}); fetch "
        f"it with `mtnets data omniglot --root {root}`, or say where it is: root=..., or the variable MTNETS_DATA."
    )


def _fingerprint(path: Path) -> str:
    with open_archive(path) as archive:
        return archive.fingerprint


def _unpack(path: Path, name: str, characters: int, images: Images) -> dict[str, NDArray[np.uint8]]:
    with open_archive(path) as archive:
        files = _all_drawings(archive, name, characters)
        # Differs from Lee & Choi (2018) unless resize="nearest": their script asks for a Lanczos filter but resizes
        # 1-bit images, for which Pillow silently takes the nearest neighbour. Ours are made grey first, so that the
        # filter is applied.
        return {
            character: np.stack([images.read(archive.read(file), f"{path}: {file}") for file in drawings])
            for character, drawings in track(files.items(), f"Unpacking {path.name}", len(files))
        }


def _all_drawings(archive: Archive, name: str, characters: int) -> dict[str, list[str]]:
    """The files of each character. Raises DataError unless there are all of them."""
    files = _drawings(archive, name)
    wrong = {character: len(drawings) for character, drawings in files.items() if len(drawings) != DRAWINGS}
    if len(files) != characters or wrong:
        there = f"{len(files)} characters"
        if wrong:
            there += f", of which {next(iter(wrong))} has {next(iter(wrong.values()))} drawings"
        raise DataError(
            f"{archive.path} is not complete: found {there}; expected {characters} characters with {DRAWINGS} drawings "
            "each; fetch it again with `mtnets data omniglot --root DIR`."
        )
    return files


def _drawings(archive: Archive, name: str) -> dict[str, list[str]]:
    """The files of each character, in order; an archive has them in one folder of its own name."""
    characters: dict[str, list[str]] = {}
    for file in archive.names:
        parts = file.removeprefix(f"{name}/").split("/")
        if len(parts) == 3 and is_image(file):
            characters.setdefault(f"{parts[0]}/{parts[1]}", []).append(file)
    # By alphabet, then character: "Angelic" < "Angelic_2" although "/" > "_".
    return dict(sorted(characters.items(), key=lambda item: item[0].split("/")))


def download(root: str | Path = "", cache: str = "", published: Mapping[str, Published] = PUBLISHED) -> list[Path]:
    """Fetches the official archives (14 MB) into `root` and unpacks them into the cache.

    An archive that is there and whole is kept. A new one takes its place only when its checksum is right.

    Returns:
      The archives.

    Raises:
      DataError: for an archive that cannot be fetched, has another checksum than the published one, or is not complete.
    """
    folder = data_root(str(root))
    paths = [folder / f"{name}.zip" for name in published]
    for path, original in zip(paths, published.values(), strict=True):
        if not (path.exists() and _is_whole(path, original)):
            fetch(original.urls, path, original.checksum, original.size)
    read(folder, cache_folder(cache), published)
    return paths


def _is_whole(path: Path, original: Published) -> bool:
    if has_checksum(path, original.checksum):
        return True
    try:  # the same drawings packed by someone else do as well
        with open_archive(path) as archive:
            for file in chain.from_iterable(_all_drawings(archive, path.stem, original.characters).values()):
                archive.read(file)
    except DataError:
        return False
    return True
