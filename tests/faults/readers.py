"""Every reader of foreign files as a function of bytes, with valid files and how to change them.

A reader returns where it has read its input or refused it by an `MtnetsError`. Anything else that it raises is a fault,
and so is a wrong answer where the right one is known, which it reports as an AssertionError.
"""

import atexit
import contextlib
import functools
import gzip
import hashlib
import io
import json
import logging
import math
import pickle
import shutil
import socket
import tempfile
import threading
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

import mtnets
from mtnets.arrays import check_seal, from_bytes, to_bytes
from mtnets.cli.choices import options_kind
from mtnets.cli.configuration import read_config
from mtnets.errors import MtnetsError
from mtnets.files import CHECKSUM, checksum, write_json
from mtnets.inner import Learned
from mtnets.interop import model_card
from mtnets.learner.adapted import AdaptedModel
from mtnets.learner.learner import Learner
from mtnets.learner.task_files import Precision, read_task, write_task
from mtnets.outer.checkpoints import Checkpoints
from mtnets.outer.run import RunFolder, _compare, _read_config
from mtnets.shipped import recipes
from mtnets.tasks import AS_THEY_ARE, Images, Inputs, StandardisedRows
from mtnets.tasks.archives import download
from mtnets.tasks.archives.archive import open_archive
from mtnets.tasks.archives.cache import cached
from mtnets.tasks.archives.pickled import unpickle
from mtnets.tasks.families.image_folder import files_by_class
from mtnets.tasks.families.miniimagenet_layouts import _cached_images, _category_images, _check_places
from mtnets.tasks.inputs.cells import cells_of, read_cells
from mtnets.tasks.inputs.columns import column_of
from mtnets.tasks.inputs.image_files import decode
from mtnets.tasks.inputs.table_inputs import TableInputs
from mtnets.trees import leaves_by_path
from tests.faults.mutations import (
    changed_bytes,
    changed_json,
    changed_npy,
    changed_pickle,
    changed_response,
    changed_tensors,
    changed_text,
    changed_zip,
)

Change = Callable[[bytes, Random], bytes]


class Reader(NamedTuple):
    """One reader.

    Attributes:
      read: reads an input.
      seeds: valid inputs.
      change: makes another input of one.
    """

    read: Callable[[bytes], None]
    seeds: Callable[[], Sequence[bytes]]
    change: Change


READERS: dict[str, Reader] = {}


def reader(
    name: str, seeds: Callable[[], Sequence[bytes]], change: Change
) -> Callable[[Callable[[bytes], None]], None]:
    """Decorates a function that reads an input, which may raise `MtnetsError`."""

    def decorate(read: Callable[[bytes], None]) -> None:
        @functools.wraps(read)
        def checked(data: bytes) -> None:
            with warnings.catch_warnings(), contextlib.suppress(MtnetsError):
                warnings.simplefilter("ignore")
                read(data)

        READERS[name] = Reader(checked, functools.cache(seeds), change)

    return decorate


@functools.cache
def folder() -> Path:
    """A folder for the inputs of this process, in memory where that is possible; it goes with the process."""
    memory = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(prefix="mtnets-faults-", dir=memory if memory.is_dir() else None))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def file(name: str, data: bytes) -> Path:
    """A file with these bytes."""
    path = folder() / name
    path.write_bytes(data)
    return path


# --- learners, adapted models, task files


def learner_of(model: mtnets.Model, method: mtnets.Method, loss: str = "mse", inputs: Inputs = AS_THEY_ARE) -> Learner:
    """A learner as a training starts with, and a record as one ends with."""
    params, state = model.init(jax.random.key(0))
    meta = method.init(model, params, jax.random.key(1), inner_lr=0.1, inner_steps=1)
    record = {
        "tasks": {"family": "sinusoid", "shots": 5},
        "training": {"meta_steps": 3, "meta_batch": 2, "validation_tasks": 20},
        "optimiser": "adam",
        "meta_step": 3,
        "seed": 0,
        "validation": 0.5,
        "classes": {"train": ["a", "b"]},
        "licence": "MIT",
    }
    return Learner(model, method, Learned(meta, state, 0.1), 1, loss, inputs, record)


@mtnets.models.register
def small(shape: tuple[int, ...], outputs: int, units: int = 2) -> mtnets.Model:
    """A network that is traced in a millisecond."""
    sizes = {"first": (math.prod(shape), units), "last": (units, outputs)}

    def init(key: jax.Array) -> Any:
        params = {name: {"weight": jnp.ones(size), "bias": jnp.zeros(size[1])} for name, size in sizes.items()}
        return params, {"mean": jnp.zeros(units)}

    def apply(params: Any, state: Any, x: jax.Array, key: jax.Array | None) -> Any:
        hidden = jax.nn.relu(x.reshape(len(x), -1) @ params["first"]["weight"] + params["first"]["bias"])
        return hidden @ params["last"]["weight"] + params["last"]["bias"], state

    return mtnets.Model(init, apply, shape)


@functools.cache
def learners() -> Sequence[Learner]:
    """Learners of all kinds of inputs."""
    table = cells_of({"a": [1.0, 2.0, None], "b": ["x", "y", "x"], "t": [1, 1, 2], "goal": [0.5, 1.5, 2.5]})
    rows = StandardisedRows(2, scales_targets=True).with_scale(np.eye(3, 2), np.arange(3.0)[:, None])
    return (
        learner_of(small((1,), 1), mtnets.mt_net(0.1)),
        learner_of(small((2,), 3), mtnets.maml(0.1, estimator=mtnets.Truncated(1)), "cross-entropy"),
        learner_of(small((2,), 1), mtnets.meta_sgd(0.1), inputs=rows),
        learner_of(small((4,), 1), mtnets.t_net(0.1), inputs=TableInputs.of(table, ("a", "b"), "goal", "t")),
        learner_of(small((3, 3, 1), 2), mtnets.anil(0.1), "cross-entropy", Images(3, 1, True)),
    )


@functools.cache
def learner_files() -> Sequence[bytes]:
    """These learners, and one in the form of version 0.1, without a checksum."""
    files = []
    for learner in learners():
        learner.save(folder() / "made")
        files.append((folder() / "made" / "learner.safetensors").read_bytes())
    arrays, metadata = from_bytes(files[0])
    card = json.loads(metadata["mtnets"]) | {"format": 1}
    del card["checksum"]
    return (*files, to_bytes(arrays, {"mtnets": json.dumps(card)}))


def assert_sealed(data: bytes) -> None:
    """What is read was written with this content, or by version 0.1."""
    card = json.loads(from_bytes(data)[1]["mtnets"])
    if card["format"] != 1:
        check_seal(data, card["checksum"])


@reader("learner", learner_files, changed_tensors)
def _(data: bytes) -> None:
    path = file("learner.safetensors", data)
    learner = mtnets.load(path.parent)
    assert_sealed(data)
    assert learner.outputs >= 1
    learner.inputs.describe()


@reader("model card", learner_files, changed_tensors)
def _(data: bytes) -> None:
    path = file("learner.safetensors", data)
    assert mtnets.load(path.parent)
    model_card(mtnets.load(path.parent), "user/name").encode()


@functools.cache
def adapted_models() -> Sequence[AdaptedModel]:
    """Models that hardly adapted."""
    models = []
    for learner in learners():
        moved = {name: leaf * 2 for name, leaf in leaves_by_path(learner.meta.params).items()}
        used = None if learner.loss.name == "mse" else np.arange(learner.outputs) > 0
        models.append(
            AdaptedModel(
                learner.model, learner.meta.params, learner.state, used, learner.inputs, learner, moved, 1, learner.loss
            )
        )
    return models


def adapted_files() -> Sequence[bytes]:
    """Files of these models."""
    for number, model in enumerate(adapted_models()):
        model.save(folder() / f"adapted-{number}")
    return [(folder() / f"adapted-{number}").read_bytes() for number in range(len(adapted_models()))]


@reader("adapted model", adapted_files, changed_tensors)
def _(data: bytes) -> None:
    model = mtnets.load_adapted(file("adapted", data))
    assert_sealed(data)
    model.inputs.describe()
    assert model.used is None or model.used.ndim == 1


def task_files() -> Sequence[bytes]:
    """Task files of these models."""
    files = []
    for model, learner in zip(adapted_models(), learners(), strict=True):
        assert model.moved is not None
        moved = {name: model.moved[name] for name in learner.inner.moving}
        for precision in get_args(Precision):
            write_task(folder() / "made-task", model, learner, moved, precision)
            files.append((folder() / "made-task").read_bytes())
    return files


@reader("task file", task_files, changed_tensors)
def _(data: bytes) -> None:
    path = file("task", data)
    refusals = []
    for learner in learners():
        try:
            task = read_task(path, learner)
        except MtnetsError as error:
            refusals.append(error)
            continue
        assert_sealed(data)
        assert task.inner_steps >= 0
    assert len(refusals) >= len(learners()) - 1, "two learners take one task"


# --- configurations


def configurations() -> Sequence[bytes]:
    """Recipes, and the configuration of a run of version 0.1 and of one of today."""
    shipped = [json.dumps(recipes.read(name)).encode() for name in recipes.names()]
    golden = (Path(__file__).parents[1] / "golden" / "0.1" / "run" / "config.json").read_bytes()
    path = folder() / "config.json"
    write_json(path, {"run": "0" * 32, **json.loads(golden)})
    return (*shipped, golden, path.read_bytes())


@reader("configuration", configurations, changed_json)
def _(data: bytes) -> None:
    path = file("config.json", data)
    family = "sinusoid"
    with contextlib.suppress(Exception):
        family = json.loads(data)["tasks"]["family"]
    family = {"tabular": "random-tables"}.get(family, family) if isinstance(family, str) else "sinusoid"
    family = family if family in mtnets.tasks.FAMILIES else "sinusoid"
    config = read_config(family, str(path))
    options_kind(family, config, None, None)


# --- runs

RUN = {"id": "0" * 32, "seed": 0}


def state() -> dict[str, Any]:
    """What a checkpoint holds."""
    return {
        "outer": {"weight": jnp.arange(6.0).reshape(2, 3), "key": jax.random.key(1)},
        "best": {"step": jnp.int32(3)},
    }


def checkpoint_files() -> Sequence[bytes]:
    """A checkpoint."""
    Checkpoints(folder() / "made-checkpoints", RUN).save(7, state())
    return [(folder() / "made-checkpoints" / "7.safetensors").read_bytes()]


def changed_checkpoint(data: bytes, random: Random) -> bytes:
    """A checkpoint with other bytes; or one of another run or network."""
    return changed_tensors(data, random) if random.random() < 0.5 else changed_bytes(data, random)


@reader("checkpoint", checkpoint_files, changed_checkpoint)
def _(data: bytes) -> None:
    (folder() / "checkpoints").mkdir(exist_ok=True)
    file("checkpoints/7.safetensors", data)
    checkpoints = Checkpoints(folder() / "checkpoints", RUN)
    assert checkpoints.latest == 7
    restored = checkpoints.restore(7, state())
    assert_sealed(data)
    assert jax.tree.structure(restored) == jax.tree.structure(state())


@reader("run configuration", lambda: configurations()[-2:], changed_json)
def _(data: bytes) -> None:
    new = json.loads(configurations()[-2])
    old, _ = _read_config(file("config.json", data).parent)
    assert old is not None
    _compare(old, new, folder())


def logs() -> Sequence[bytes]:
    """The log of a run of version 0.1, and one with checksums."""
    golden = (Path(__file__).parents[1] / "golden" / "0.1" / "run" / "metrics.jsonl").read_bytes()
    lines = [{**json.loads(line), CHECKSUM: checksum(json.loads(line), "crc32")} for line in golden.splitlines()]
    return golden, b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def changed_log(data: bytes, random: Random) -> bytes:
    """A log with another line; or with other bytes."""
    lines = data.splitlines()
    if random.random() < 0.5 or not lines:
        return changed_bytes(data, random)
    place = random.randrange(len(lines))
    lines[place] = changed_json(lines[place], random)
    return b"\n".join(lines)


@reader("run log", logs, changed_log)
def _(data: bytes) -> None:
    run = object.__new__(RunFolder)  # without its lock and its plan
    run.path = file("metrics.jsonl", data).parent
    run.begin_log(10)
    kept = (run.path / "metrics.jsonl").read_bytes().splitlines()
    assert set(kept) <= set(data.splitlines())


# --- archives and images


def picture(number: Any, kind: str = "PNG", mode: str = "RGB", **options: Any) -> bytes:
    """A small image."""
    noise = np.random.default_rng(int(number)).integers(0, 256, (6, 6, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def zips() -> Sequence[bytes]:
    """A data set of class folders, in both forms that entries usually have."""
    files = {
        f"{split}/{split}{c}/{e}.png": picture(c) for split in ("train", "val", "test") for c in "01" for e in "01"
    }
    archives = []
    for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", kind) as archive:
            for name, content in files.items():
                archive.writestr(zipfile.ZipInfo(name), content, kind)
        archives.append(buffer.getvalue())
    return archives


@reader("zip", zips, changed_zip)
def _(data: bytes) -> None:
    with open_archive(file("archive.zip", data)) as archive:
        for name in archive.names[:20]:
            with contextlib.suppress(MtnetsError):
                archive.read(name)
        files_by_class(archive)


def pictures() -> Sequence[bytes]:
    """Images of all formats."""
    grey = Image.fromarray(np.arange(36, dtype=np.uint16).reshape(6, 6))
    buffer = io.BytesIO()
    grey.save(buffer, "PNG")
    return (
        *(picture(0, kind) for kind in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")),
        *(picture(0, "PNG", mode) for mode in ("1", "L", "P", "RGBA")),
        picture(0, "TIFF", compression="tiff_lzw"),
        picture(0, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"),
        buffer.getvalue(),
    )


@reader("image", pictures, changed_bytes)
def _(data: bytes) -> None:
    pixels = decode(data, "an image", 4, 1)
    assert (pixels.shape, pixels.dtype) == ((4, 4, 1), np.uint8)


# --- tables

TABLE = "task,x,y,kind,when\n1,0.5,2,a,x\n1,,3,b,y\n2,1e3,4,a,x\n2,-7.25,5,?,z\n"


def texts() -> Sequence[bytes]:
    """Tables of text, in several ways of writing."""
    german = TABLE.replace(",", ";").replace(".", ",")
    return (TABLE.encode(), german.encode("utf-16"), TABLE.replace(",", "\t").encode("latin-1"), b"sep=|\r\na|b\r\n1|2")


def look_at(path: Path) -> None:
    """Reads a table and looks at what its columns hold."""
    cells = read_cells(path)
    for name in list(cells.columns)[:20]:
        with contextlib.suppress(MtnetsError):
            column_of(cells, name).encode(cells)
        with contextlib.suppress(MtnetsError):
            cells.by_value(name)


@reader("csv", texts, changed_text)
def _(data: bytes) -> None:
    look_at(file("table.csv", data))


def compressed() -> Sequence[bytes]:
    """Compressed tables of text."""
    return [gzip.compress(text, mtime=0) for text in texts()]


def changed_gzip(data: bytes, random: Random) -> bytes:
    """A compressed table with other cells; or with other bytes."""
    if random.random() < 0.5:
        return changed_bytes(data, random)
    try:
        return gzip.compress(changed_text(gzip.decompress(data), random), mtime=0)
    except (OSError, EOFError, ValueError, zlib.error):
        return changed_bytes(data, random)


@reader("csv.gz", compressed, changed_gzip)
def _(data: bytes) -> None:
    look_at(file("table.csv.gz", data))


def parquets() -> Sequence[bytes]:
    """A table in Parquet's forms."""
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table(
        {"task": [1, 1, 2], "x": [0.5, None, 1e3], "kind": ["a", "b", "a"], "flag": [True, False, None]}
    )
    files = []
    for compression in ("none", "snappy"):
        buffer = io.BytesIO()
        parquet.write_table(table, buffer, compression=compression)
        files.append(buffer.getvalue())
    return files


@reader("parquet", parquets, changed_bytes)
def _(data: bytes) -> None:
    look_at(file("table.parquet", data))


# --- caches


def pickles() -> Sequence[bytes]:
    """Both forms of pickled miniImageNet, of one image a class, by every protocol."""
    images = np.zeros((2, 84, 84, 3), np.uint8)
    values: tuple[Any, ...] = (
        {"image_data": images, "class_dict": {"a": [0], "b": [1]}},
        {"data": images, "labels": [0, 1], "catname2label": {"a": 0, "b": 1}},
        {"data": images[:, :1, :1], "labels": np.array(["a", "b"]), "label2catname": ["a", np.float64(2)]},
    )
    return [pickle.dumps(value, protocol) for value in values for protocol in (0, 2, 3, 4, 5)]


@reader("pickle", pickles, changed_pickle)
def _(data: bytes) -> None:
    content = unpickle(data, "a pickle")
    for images_of in (_cached_images, _category_images):
        with contextlib.suppress(MtnetsError):
            images, classes = images_of(content, "train", "a pickle")
            _check_places(classes, len(images), "a pickle")


ARRAY = np.arange(12, dtype=np.uint8).reshape(3, 4)
NOTES = [["train", "a", 2], ["test", "é\x1b", 1]]


@functools.cache
def cache_files() -> tuple[bytes, bytes]:
    """The array and the notes of a cache."""
    cached(folder(), "cache", lambda: (ARRAY, NOTES))
    return (folder() / "cache.npy").read_bytes(), (folder() / "cache.json").read_bytes()


def read_cache(array: bytes, notes: bytes) -> None:
    """The right array comes back, whatever is in the cache."""
    file("cache.npy", array)
    file("cache.json", notes)
    result, found = cached(folder(), "cache", lambda: (ARRAY, NOTES))
    assert (result.dtype, result.shape, found) == (ARRAY.dtype, ARRAY.shape, NOTES)
    assert (result == ARRAY).all()


@reader("image cache", lambda: [cache_files()[0]], changed_npy)
def _(data: bytes) -> None:
    read_cache(data, cache_files()[1])


@reader("image cache's notes", lambda: [cache_files()[1]], changed_bytes)
def _(data: bytes) -> None:
    read_cache(cache_files()[0], data)


# --- downloads

CONTENT = b"PK what was published" * 10


class Server(threading.Thread):
    """Answers everyone with the same bytes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.answer = b""
        self.start()

    def run(self) -> None:
        while True:
            connection, _ = self.socket.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(1 << 16)
                connection.sendall(self.answer)
                connection.shutdown(socket.SHUT_WR)
                connection.recv(1 << 10)


@functools.cache
def server() -> Server:
    """The server of this process."""
    logging.getLogger("urllib3").setLevel(logging.CRITICAL)
    return Server()


def answers() -> Sequence[bytes]:
    """Right answers of servers."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/zip\r\n"
    length = str(len(CONTENT)).encode()
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(CONTENT), CONTENT)
    return (
        head + b"Content-Length: " + length + b"\r\n\r\n" + CONTENT,
        head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked,
        head + b"Connection: close\r\n\r\n" + CONTENT,
    )


@contextlib.contextmanager
def one_try() -> Iterator[None]:
    """Downloads are tried once, without a wait."""
    before, download.TRIES = download.TRIES, 1
    try:
        yield
    finally:
        download.TRIES = before


@reader("download", answers, changed_response)
def _(data: bytes) -> None:
    server().answer = data
    path = folder() / "download" / "published.zip"
    path.unlink(missing_ok=True)
    url = f"http://127.0.0.1:{server().socket.getsockname()[1]}/published.zip"
    try:
        with one_try():
            download.fetch([url], path, f"sha256:{hashlib.sha256(CONTENT).hexdigest()}", len(CONTENT))
    except MtnetsError:
        assert not path.parent.is_dir() or not any(path.parent.iterdir())
        raise
    assert path.read_bytes() == CONTENT
