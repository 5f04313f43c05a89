import io
import os
import pickle
import struct
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mtnets.errors import DataError, OptionError
from mtnets.networks.models import Conv4
from mtnets.tasks import FAMILIES, Family, Images, MiniImageNet, family_from_record, miniimagenet
from mtnets.tasks.archives.pickled import unpickle
from mtnets.tasks.families import miniimagenet as module
from mtnets.tasks.families import miniimagenet_layouts
from mtnets.tasks.families.miniimagenet_layouts import CACHES, CATEGORIES
from samples import draw, image, png

SIZES: dict[str, Any] = {"ways": 2, "shots": 1, "queries": 2}
NUMBERS = {"train": 3, "val": 2, "test": 2}
SPLIT = {"train": "train", "val": "validation", "test": "test"}
EXAMPLES = 3

Files = dict[str, bytes]
Arrays = dict[str, dict[str, NDArray[np.uint8]]]


def arrays(prefix: str = "n") -> Arrays:
    """Distinct images `[examples, 84, 84, 3]` by split and class."""
    seeds = count()
    return {
        split: {
            f"{prefix}{split}{c}": np.stack([np.asarray(image(next(seeds), 84)) for _ in range(EXAMPLES)])
            for c in range(classes)
        }
        for split, classes in NUMBERS.items()
    }


DATA = arrays()
PNGS = {
    (split, name, e): png(Image.fromarray(pixels))
    for split, classes in DATA.items()
    for name, examples in classes.items()
    for e, pixels in enumerate(examples)
}


def folders(prefix: str = "n") -> Files:
    return {f"{split}/{prefix}{name[1:]}/{e}.png": content for (split, name, e), content in PNGS.items()}


def lists(prefix: str = "n") -> Files:
    """The classes take turns in each list, which shuffles their order."""
    files = {f"images/{name}-{e}.png": content for (_, name, e), content in PNGS.items()}
    for split in NUMBERS:
        rows = [(f"{name}-{e}.png", prefix + name[1:]) for e in range(EXAMPLES) for name in reversed(DATA[split])]
        files[f"{split}.csv"] = "\n".join(["filename,label", *map(",".join, rows)]).encode()
    return files


def cache_content(split: str, prefix: str = "n") -> dict[str, Any]:
    """Images of the first class first, the classes in another order than that of their names."""
    of = DATA[split]
    places = {prefix + n[1:]: list(range(i * EXAMPLES, (i + 1) * EXAMPLES)) for i, n in enumerate(of)}
    return {"image_data": np.concatenate(list(of.values())), "class_dict": dict(reversed(places.items()))}


def category_content(split: str, prefix: str = "n") -> dict[str, Any]:
    """The classes take turns; their labels are those of all splits together, as in the published files."""
    of, first = DATA[split], {"train": 0, "val": 3, "test": 5}[split]
    return {
        "data": np.stack([pixels[e] for e in range(EXAMPLES) for pixels in of.values()]),
        "labels": [first + i for _ in range(EXAMPLES) for i in range(len(of))],
        "catname2label": {prefix + name[1:]: first + i for i, name in enumerate(of)},
        "label2catname": ["not", "used"],
    }


def dump5(content: Any) -> bytes:
    return pickle.dumps(content, 5)


def dump2(content: Any) -> bytes:
    return pickle.dumps(content, 2)


class _Python2(pickle._Pickler):  # type: ignore[name-defined]
    """Writes as Python 2 did, with text and the elements of arrays both as its 8-bit strings."""

    dispatch = pickle._Pickler.dispatch.copy()  # type: ignore[attr-defined]

    def save_string(self, value: str | bytes) -> None:
        content = value.encode("latin1") if isinstance(value, str) else value
        pickler: Any = self
        pickler.write(b"T" + struct.pack("<i", len(content)) + content)
        pickler.memoize(value)

    dispatch[bytes] = dispatch[str] = save_string


def dump_python2(content: Any) -> bytes:
    file = io.BytesIO()
    _Python2(file, 2).dump(content)
    made = file.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    assert b"_codecs" not in made
    return made.replace(b"u1\x89\x88\x87", b"u1K\x00K\x01\x87")  # numbers for truth values, of which NumPy 2.4 warns


Dump = Callable[[Any], bytes]


def caches(prefix: str = "n", dump: Dump = dump5) -> Files:
    return {name: dump(cache_content(split, prefix)) for name, split in zip(CACHES, NUMBERS, strict=True)}


def categories(prefix: str = "n", dump: Dump = dump5) -> Files:
    return {name: dump(category_content(split, prefix)) for name, split in zip(CATEGORIES, NUMBERS, strict=True)}


def build(root: Path, **options: Any) -> Family:
    """The family, which warns of its few classes."""
    with pytest.warns(UserWarning, match=r"3/2/2 classes \(train/validation/test\) of 3 images; usual are 64/16/20"):
        return miniimagenet(root=str(root), **SIZES, **options)


def check(family: Family, prefix: str = "n") -> None:
    """That these are the images of DATA by class."""
    for split, classes in DATA.items():
        assert family.classes[SPLIT[split]] == tuple(prefix + name[1:] for name in classes)
        episodes: Any = getattr(family, SPLIT[split])
        np.testing.assert_array_equal(episodes.pixels, np.stack(list(classes.values())))


def under(folder: str, files: Files) -> Files:
    return {f"{folder}/{name}": content for name, content in files.items()}


@pytest.mark.parametrize("layout", [folders, lists, caches, categories])
@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("data", ""),
        ("data.zip", ""),
        ("data.zip", "some folder/"),
        ("data/miniImageNet", ""),
        ("data/mini-imagenet", ""),
        ("data/miniimagenet.zip", "mini/"),
    ],
)
def test_layouts(write, tmp_path: Path, layout: Callable[[], Files], name: str, inside: str) -> None:
    write(name, {"README.md": b"read me", "._train.csv": b""} | {inside + f: c for f, c in layout().items()})
    check(build(tmp_path / name.split("/", maxsplit=1)[0]))


@pytest.mark.parametrize("inside", ["", "images/"])
def test_lists_beside_an_archive_of_images(write, inside: str) -> None:
    files = lists()
    root = write("data", {name: content for name, content in files.items() if name.endswith(".csv")})
    write("data/images.zip", {inside + Path(f).name: c for f, c in files.items() if f.startswith("images/")})
    check(build(root))


@pytest.mark.parametrize("dump", [dump5, dump2, dump_python2])
@pytest.mark.parametrize("layout", [caches, categories])
def test_pickles_of_every_python(write, layout: Callable[..., Files], dump: Dump) -> None:
    check(build(write("data", layout(dump=dump))))


def columns_first(of: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return of.transpose(2, 0, 1, 3).copy().transpose(1, 2, 0, 3)


@pytest.mark.parametrize("change", [np.asfortranarray, columns_first])
@pytest.mark.parametrize("dump", [dump5, dump2])
def test_arrays_in_another_order_of_memory(write, change: Callable[[Any], Any], dump: Dump) -> None:
    def made(content: dict[str, Any]) -> bytes:
        places = {name: np.array(of, ">i8") for name, of in content["class_dict"].items()}
        return dump({"image_data": change(content["image_data"]), "class_dict": places})

    check(build(write("data", caches(dump=made))))


@pytest.mark.parametrize("names", ["catname2label", "dictionary", "list", "array", "text", "none"])
def test_names_of_labels(write, names: str) -> None:
    def made(content: dict[str, Any]) -> bytes:
        label_of = content.pop("catname2label")
        name_of = {label: name for name, label in label_of.items()}
        content["labels"] = labels = [np.int64(label) for label in content["labels"]]
        content["label2catname"] = None
        if names == "catname2label":
            content["catname2label"] = {np.str_(name): np.int64(label) for name, label in label_of.items()}
        elif names == "dictionary":
            content["label2catname"] = name_of
        elif names == "list":
            content["label2catname"] = [name_of.get(i, "") for i in range(7)]
        elif names == "array":
            content["labels"], content["label2catname"] = np.array(labels), name_of
        elif names == "text":
            content["labels"] = [name_of[int(label)] for label in labels]
        else:
            content["labels"] = [label - min(labels) for label in labels]
        return dump2(content)

    family = build(write("data", categories(dump=made)))
    if names == "none":
        assert family.classes["train"] == ("train-0", "train-1", "train-2")
        assert family.classes["test"] == ("test-0", "test-1")
    else:
        check(family)


def test_the_first_of_several_layouts(write, tmp_path: Path) -> None:
    root = write("data", categories("d"))
    check(build(root), "d")
    write("data/miniImageNet.zip", caches("c"))
    check(build(root), "c")
    write("data", lists("b"))
    check(build(root), "b")
    write("data/mini-imagenet", folders("a"))
    check(build(root), "a")


def test_images_of_other_sizes_and_kinds(write) -> None:
    files = folders()
    large, grey = image(1, (120, 90)), image(2, 84, "L")
    files |= {"train/ntrain0/0.png": png(large), "train/ntrain0/1.png": png(grey)}
    family = build(write("data", files))
    wanted: Any = large.resize((84, 84), Image.Resampling.LANCZOS), grey.convert("RGB")
    train: Any = family.train
    np.testing.assert_array_equal(train.pixels[0, :2], np.stack([np.asarray(each) for each in wanted]))


def test_tasks(write, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write("data", folders())
    monkeypatch.setenv("MTNETS_DATA", str(root))
    with pytest.warns(UserWarning, match="usual are"):
        family = miniimagenet(**SIZES)
    task = draw(family.train, 2)
    assert (task.support.x.shape, task.query.x.shape) == ((2, 2, 84, 84, 3), (2, 4, 84, 84, 3))
    assert (task.support.x.dtype, task.support.x.min() >= 0, task.support.x.max() <= 1) == (np.float32, True, True)
    np.testing.assert_array_equal(task.query.y[0], [0, 0, 1, 1])
    assert (family.inputs, family.loss) == (Images(84, 3), "cross-entropy")
    recipe = family.recipe
    assert (recipe.inner_lr, recipe.inner_steps, recipe.meta_batch, recipe.meta_steps) == (0.05, 5, 4, 60_000)
    assert family.model().config["filters"] == 32


def test_options(write) -> None:
    options = MiniImageNet()
    assert (options.root, options.ways, options.shots, options.queries) == ("", 5, 1, 15)
    assert FAMILIES["miniimagenet"] is MiniImageNet
    assert miniimagenet.__name__ == "miniimagenet"
    with pytest.raises(OptionError, match="ways is 1"):
        miniimagenet(ways=1)
    root = write("data", folders())
    with pytest.warns(UserWarning, match="usual are"):
        family = family_from_record({"family": "miniimagenet", "root": str(root), **SIZES}, network=Conv4(8), queries=1)
    assert isinstance(family.options, MiniImageNet)
    assert family.options.network.filters == 8
    with (
        pytest.warns(UserWarning, match="usual are"),
        pytest.raises(DataError, match=r"There are 2 validation classes, fewer than the 3 ways"),
    ):
        miniimagenet(root=str(root), ways=3, queries=2)


def test_command_line(write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mtnets.cli import main

    with pytest.raises(SystemExit) as stopped:
        main(["train", "miniimagenet", "--help"])
    assert (stopped.value.code, "--root" in capsys.readouterr().out) == (0, True)
    root = write("data", {"else.txt": b""})
    assert main(["train", "miniimagenet", "--root", str(root), "--out", str(tmp_path / "run")]) == 1
    assert f"miniImageNet is not in {root}" in capsys.readouterr().err


def test_the_second_time_comes_from_the_cache(write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = write("data", lists())
    before = sorted(root.rglob("*"))
    check(build(root))
    assert sorted(root.rglob("*")) == before
    write("data", {"omniglot/a/0.png": b"of another data set"})  # does not concern this one
    unpack, unpacked = miniimagenet_layouts.unpack, []
    monkeypatch.setattr(miniimagenet_layouts, "unpack", lambda *args: unpacked.append("again") or unpack(*args))
    check(build(root))
    assert not unpacked
    write("data", {"images/ntrain0-0.png": png(image(99, 84)) + b"changed"})
    build(root)
    assert unpacked
    assert build(root, cache=str(tmp_path / "elsewhere"))
    assert list((tmp_path / "elsewhere").glob("miniimagenet-*.npy"))


def test_the_usual_counts_give_no_warning(write, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write("data", folders())
    monkeypatch.setattr(module, "CLASSES", {"train": 3, "validation": 2, "test": 2})
    monkeypatch.setattr(module, "EXAMPLES", EXAMPLES)
    check(miniimagenet(root=str(root), **SIZES))  # warnings are errors
    write("data", {"train/ntrain1/more.png": png(image())})
    with pytest.warns(UserWarning, match=r"has 3/2/2 classes .* of 3 to 4 images; usual are 3/2/2 classes of 3 images"):
        miniimagenet(root=str(root), **SIZES)


def raises(root: Path, *messages: str) -> None:
    """That the data in `root` cannot be used, for this reason."""
    with pytest.raises(DataError) as raised:
        miniimagenet(root=str(root), **SIZES)
    for message in messages:
        assert message in str(raised.value)


def test_missing_data(write, tmp_path: Path) -> None:
    expected = (
        "train/CLASS/IMAGE, val/CLASS/IMAGE and test/CLASS/IMAGE",
        "train.csv, val.csv, test.csv and images/ or images.zip",
        "mini-imagenet-cache-train.pkl",
        "miniImageNet_category_split_train_phase_train.pickle",
        "cannot be downloaded by this program, since ImageNet's terms",
        "root=..., or the variable MTNETS_DATA",
    )
    raises(tmp_path / "nowhere", f"miniImageNet is not in {tmp_path / 'nowhere'}", *expected)
    files = {name: content for name, content in folders().items() if not name.startswith("val/")}
    root = write("data", files | {"val/0.png": png(image())})  # in no class folder
    write("data", {name: content for name, content in lists().items() if name.startswith("train.csv")})
    raises(
        root,
        f"{root} has train/CLASS/IMAGE, test/CLASS/IMAGE but not val/CLASS/IMAGE.",
        f"{root} has train.csv but not val.csv, test.csv, images/.",
        *expected,
    )
    (tmp_path / "broken.zip").write_bytes(b"PK not a zip")
    raises(tmp_path / "broken.zip", "broken.zip cannot be read", "fetch it again")


def change(files: Files, name: str, old: bytes, new: bytes) -> Files:
    assert old in files[name]
    return files | {name: files[name].replace(old, new, 1)}


@pytest.mark.parametrize("name", ["data", "data.zip"])
@pytest.mark.parametrize(
    ("files", "message"),
    [
        (folders() | {"test/ntrain1/0.png": png(image())}, "class ntrain1 both in train and in test"),
        (folders() | {"test/ntest1/0.png": b"no image"}, "test/ntest1/0.png cannot be read"),
        (folders() | {"test/0.png": png(image())}, "test/0.png is in no class folder"),
        (change(lists(), "val.csv", b",nval1", b",ntest1"), "class ntest1 both in validation and in test"),
        (change(lists(), "val.csv", b"nval0-1.png", b"absent.png"), ": val.csv, line 5 names absent.png; it is not in"),
        (change(lists(), "val.csv", b"nval0-1.png", b"../val.csv"), ": val.csv, line 5 names ../val.csv; it is not in"),
        (
            change(lists(), "val.csv", b"nval0-1.png", b"ntrain2-0.png"),
            ": val.csv, line 5 names ntrain2-0.png, and so does train.csv, line 2",
        ),
        (change(lists(), "test.csv", b"label", b"class"), "test.csv, line 1 has the columns filename, class; expected"),
        (
            change(lists(), "test.csv", b"ntest0-0.png,ntest0", b"ntest0-0.png"),
            "test.csv, line 3 has not both",
        ),
        (
            change(lists(), "test.csv", b"ntest0-0.png", b'"ntest0-0.png'),
            "test.csv, line 7 cannot be read",
        ),
        (lists() | {"test.csv": b""}, "test.csv is empty; expected a first line filename,label"),
        (lists() | {"test.csv": b"filename,label\n\n"}, "test.csv names no images"),
        (lists() | {"test.csv": b"\xff\xfe\x00"}, "test.csv is not text"),
        (lists() | {"images/ntest0-1.png": b""}, "images/ntest0-1.png (test.csv, line 5) cannot be read"),
        (
            lists() | {"images/ntest0-1.png": PNGS["test", "ntest0", 1][:9000]},
            "images/ntest0-1.png (test.csv, line 5) cannot be read",
        ),
    ],
)
def test_images_that_cannot_be_used(write, name: str, files: Files, message: str) -> None:
    raises(write(name, files), message)


def test_a_list_by_a_spreadsheet(write) -> None:
    files = lists()
    for name in ("train.csv", "val.csv", "test.csv"):
        rows = [line.split(",") for line in files[name].decode().splitlines()]
        text = "\r\n".join(f'"{label}", {file},' for file, label in rows)
        files[name] = b"\xef\xbb\xbf" + text.encode() + b"\r\n\r\n"
    check(build(write("data", files)))


# --- pickles that cannot be used

CACHE, CATEGORY = "mini-imagenet-cache-val.pkl", "miniImageNet_category_split_val.pickle"


class Attack:
    """Runs a command when it is unpickled, and says so by a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"mkdir '{self.folder}'",)


@pytest.mark.parametrize("dump", [dump5, dump2])
@pytest.mark.parametrize("layout", [caches, categories])
def test_a_pickle_that_runs_a_command(write, tmp_path: Path, layout: Callable[[], Files], dump: Dump) -> None:
    ran = tmp_path / "it ran"
    attack = dump({"class_dict": {}, "labels": [], "data": None, "image_data": Attack(ran)})
    pickle.loads(attack)  # it is indeed one
    assert ran.exists()
    ran.rmdir()
    file = next(name for name in layout() if "val" in name)
    root = write("data", layout() | {file: attack})
    name = "nt.system" if os.name == "nt" else "posix.system"
    raises(root, f"{root}: {file} calls for {name}", "not run", "class folders instead, train|val|test/CLASS/IMAGE")
    assert not ran.exists()


def call(module: str, name: str, *arguments: bytes) -> bytes:
    """A pickle that calls a function, in the oldest protocol."""
    return f"c{module}\n{name}\n(".encode() + b"".join(arguments) + b"tR."


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"),
        ("__builtin__", "getattr"),
        ("numpy", "load"),
        ("numpy.core", "multiarray._reconstruct"),
        ("numpy", "dtype.__new__"),
        ("numpy.core.multiarray", "fromfile"),
        ("numpy", "memmap"),
        ("copy_reg", "_reconstructor"),
        ("collections", "OrderedDict"),
        ("codecs", "encode"),
        ("mtnets.tasks.archives.pickled", "PickledArray"),
    ],
)
def test_names_that_a_pickle_may_not_call(write, module: str, name: str) -> None:
    raises(write("data", caches() | {CACHE: call(module, name)}), f"{CACHE} calls for {module}.{name}")


def lying_dtype() -> bytes:
    """Has NumPy itself take eight bytes for the address of an object: the state of the dtype denies its objects."""
    inner = b"cnumpy\ndtype\n(S'O8'\nI00\nI01\ntR(I3\nS'|'\nNNNI-1\nI-1\nI63\ntb"
    state = b"(I3\nS'|'\nN(S'a'\nt(dS'a'\n(" + inner + b"I0\ntsI8\nI1\nI0\nt"
    dtype = b"cnumpy\ndtype\n(S'V8'\nI00\nI01\ntR" + state + b"b"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I1\nt" + dtype
    return b"(dS'image_data'\n" + array + b"I00\nS'AAAAAAAA'\ntbs."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read: pickle exhausted before seeing STOP; fetch it again, or use class"),
        (b"no pickle", "cannot be read"),
        (dump5(cache_content("val"))[:-5000], "cannot be read"),
        (dump5([1, 2]), "is not a dictionary of arrays"),
        (lying_dtype(), "cannot be read: it has an array of V8, not of numbers or text"),
        (call("_codecs", "encode", b"S'a'\nS'zip'\n"), "cannot be read: it has bytes in the encoding zip"),
        (b"cnumpy\nndarray\n(dS'array'\nI1\nsb.", "cannot be read"),  # the state of a class
        (call("numpy.core.multiarray", "scalar", b"I1\nI2\n"), "cannot be read"),
    ],
)
def test_pickles_that_cannot_be_read(write, content: bytes, message: str) -> None:
    root = write("data", caches() | {CACHE: content})
    raises(root, f"{root}: {CACHE} {message}")


VAL = cache_content("val")
IMAGES = VAL["image_data"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"class_dict": {}}, "image_data is absent; expected uint8 [images, 84, 84, 3]"),
        (VAL | {"image_data": list(IMAGES)}, "image_data is no array; expected uint8 [images, 84, 84, 3]"),
        (VAL | {"image_data": IMAGES / np.float32(255)}, "image_data is float32 [6, 84, 84, 3]; expected uint8"),
        (
            VAL | {"image_data": IMAGES[:, :80]},
            "image_data is uint8 [6, 80, 84, 3]; expected uint8",
        ),
        (VAL | {"image_data": IMAGES[0]}, "image_data is uint8 [84, 84, 3]; expected uint8 [images, 84, 84, 3]"),
        (
            VAL | {"image_data": IMAGES[:1].astype(object)},
            "cannot be read: it has an array of O8, not of numbers",
        ),
        ({"image_data": IMAGES}, "has no dictionary 'class_dict'"),
        (VAL | {"class_dict": [0, 1]}, "has no dictionary 'class_dict'"),
        (VAL | {"class_dict": {}}, "has no classes"),
        (VAL | {"class_dict": {"a": []}}, "class a has no images"),
        (VAL | {"class_dict": {"a": {"lbl": [0]}}}, "class_dict['a'] is not a list of int"),
        (VAL | {"class_dict": {"a": [0.0]}}, "class_dict['a'] is not a list of int"),
        (VAL | {"class_dict": {"a": [0, 6]}}, "class a has image 6; expected 0 to 5"),
        (VAL | {"class_dict": {"a": [-1]}}, "class a has image -1; expected 0 to 5"),
        (VAL | {"class_dict": {"a": [0, 1], "b": [1]}}, "image 1 is in class a and again in b; expected once"),
        (VAL | {"class_dict": {"ntest0": [0, 1]}}, "class ntest0 both in validation and in test"),
    ],
)
def test_caches_that_cannot_be_used(write, content: dict[str, Any], message: str) -> None:
    root = write("data", caches() | {CACHE: dump5(content)})
    raises(root, str(root), message, *([CACHE] if "both" not in message else []))


SPLIT_VAL = category_content("val")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"labels": [1]}, "data is absent; expected uint8 [images, 84, 84, 3]"),
        ({"data": IMAGES}, "labels is not a list of int or str"),
        (SPLIT_VAL | {"labels": [3, 4]}, "has 2 labels for 6 images"),
        (SPLIT_VAL | {"labels": [[3]] * 6}, "labels is not a list of int or str"),
        (SPLIT_VAL | {"labels": np.zeros((6, 1), int)}, "labels is not a list of int or str"),
        (SPLIT_VAL | {"labels": [3, 4, 3, 4, 3, 9]}, "has images with the label 9 but no name for it"),
        (SPLIT_VAL | {"catname2label": {"a": [3]}}, "catname2label is not a list of int or str"),
        (SPLIT_VAL | {"catname2label": None}, "has images with the label 3 but no name for it"),
    ],
)
def test_categories_that_cannot_be_used(write, content: dict[str, Any], message: str) -> None:
    raises(write("data", categories() | {CATEGORY: dump5(content)}), CATEGORY, message)


@pytest.mark.parametrize("dump", [dump5, dump2, dump_python2])
def test_wherever_a_pickle_is_cut_off_the_error_is_ours(dump: Dump) -> None:
    whole = dump({"class_dict": {"a": [0]}, "image_data": np.arange(16, dtype=np.uint8)})
    for end in range(len(whole)):
        with pytest.raises(DataError, match="a file cannot be read"):
            unpickle(whole[:end], "a file")
    assert list(unpickle(whole, "a file")) == ["class_dict", "image_data"]
