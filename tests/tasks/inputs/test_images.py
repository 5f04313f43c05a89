import dataclasses
import io
import os
import struct
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from mtnets.errors import DataError, OptionError
from mtnets.tasks.inputs.image_files import class_folders, decode, images_to_classify
from mtnets.tasks.inputs.images import Images
from samples import image, png


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_becomes_the_channels_asked_for(mode: str, channels: int) -> None:
    file = io.BytesIO()
    image(mode=mode, size=(9, 5)).save(file, "TIFF")
    file.seek(0)
    assert Images(7, channels).read(file, "it").shape == (7, 7, channels)


@pytest.mark.parametrize(("mode", "channels"), [("1", 1), ("L", 1), ("LA", 1), ("P", 3), ("RGB", 3), ("RGBA", 3)])
def test_images_as_stored(mode: str, channels: int) -> None:
    assert decode(png(image(mode=mode, size=(9, 5))), "it").shape == (5, 9, channels)


def test_pixels_are_kept_where_nothing_is_to_be_changed() -> None:
    picture = image(mode="L")
    np.testing.assert_array_equal(decode(png(picture), "it")[..., 0], np.asarray(picture))


def test_one_bit_images_are_resized_smoothly() -> None:
    stripes = Image.fromarray(np.arange(100 * 100).reshape(100, 100) % 2 == 0)
    assert abs(int(np.median(Images(10, 1).read(io.BytesIO(png(stripes)), "it"))) - 128) < 10


def test_nearest_pixels_are_pixels_of_the_image() -> None:
    """Of any kind; with 16 bits as well."""
    stripes = Image.fromarray(np.arange(100 * 100).reshape(100, 100) % 3 == 0)
    images = Images(10, 1, resize="nearest")
    assert set(np.unique(images.read(png(stripes), "it"))) == {0, 255}
    assert images.describe() == "grey images, 10 × 10, by their nearest pixels"
    levels = np.arange(0, 2**16, 2**16 // 100).astype(np.uint16)[:100]
    deep = Image.fromarray(np.broadcast_to(levels, (100, 100)).copy())
    np.testing.assert_array_equal(images.read(png(deep), "it")[0, :, 0], levels[5::10] >> 8)
    with pytest.raises(OptionError, match="resize is 'cubic'"):
        Images(10, 1, resize="cubic")  # pyright: ignore


def test_transparent_parts_are_paper() -> None:
    assert decode(png(Image.new("RGBA", (4, 4), (0, 0, 0, 0))), "it").min() == 255


def test_sixteen_bits_become_eight() -> None:
    grey = Image.fromarray(np.full((4, 4), 0x80FF, np.uint16))
    np.testing.assert_array_equal(decode(png(grey), "it"), np.full((4, 4, 1), 0x80))


@pytest.mark.parametrize(("bits", "file"), [(8, "PNG"), (10, "PNG"), (12, "PNG"), (12, "TIFF"), (14, "TIFF")])
def test_fewer_bits_in_files_of_sixteen_keep_their_levels(bits: int, file: str) -> None:
    levels = np.arange(256).reshape(16, 16).astype(np.uint16)
    grey = io.BytesIO()
    Image.fromarray(levels << (bits - 8)).save(grey, file)
    with pytest.warns(UserWarning, match=f"no value above .* taken for {bits}-bit data, white at {2**bits - 1}"):
        np.testing.assert_array_equal(decode(grey.getvalue(), "it")[..., 0], levels)


def test_images_of_sixteen_bits_have_one_scale(tmp_path) -> None:
    """A dark one stays dark beside a bright one, in each of support and query."""
    for name, white in (("support/a/1", 4095), ("support/b/2", 255), ("query/3", 1023)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((9, 9), white, np.uint16)).save(tmp_path / f"{name}.png")
    with pytest.warns(UserWarning, match="taken for 12-bit data"):
        task, *_ = Images(4, 3).read_tasks(tmp_path / "support", tmp_path / "query").tasks
    assert task.x.shape == (2, 4, 4, 3)
    assert (*np.unique(task.x), *np.unique(task.query)) == (15, 255, 63)
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "query" / "4.png")
    with pytest.raises(DataError, match=r"1\.png has 16 bits a pixel and .*4\.png 8; save all with 8 bits"):
        Images(4, 3).read_tasks(tmp_path / "support", tmp_path / "query")


def test_dark_colours_of_sixteen_bits_are_pointed_out() -> None:
    with pytest.warns(UserWarning, match="16 bits a channel has no value above 1/16 of white"):
        decode(png_of_48_bits(np.full((4, 4, 3), 4095)), "it")
    assert decode(png_of_48_bits(np.full((4, 4, 3), 65535)), "it").max() == 255


def png_of_48_bits(pixels: np.ndarray) -> bytes:
    """An RGB file of 16 bits a channel, which Pillow reads but does not write."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunks = {b"IHDR": struct.pack(">2I5B", width, height, 16, 2, 0, 0, 0), b"IDAT": zlib.compress(rows), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks.items()
    )


@pytest.mark.parametrize("invert", [False, True])
def test_inputs_in_numpy_and_in_a_compiled_program(invert: bool) -> None:
    images = Images(2, 1, invert)
    pixels = np.array([0, 51, 255], np.uint8)
    expected = np.array([1, 0.8, 0] if invert else [0, 0.2, 1], np.float32)
    assert isinstance(images.to_inputs(pixels), np.ndarray)
    assert images.to_inputs(pixels).dtype == np.float32
    np.testing.assert_allclose(images.to_inputs(pixels), expected, atol=1e-7)
    compiled = jax.jit(images.to_inputs)(jnp.asarray(pixels))
    assert compiled.dtype == jnp.float32
    np.testing.assert_allclose(compiled, expected, atol=1e-7)


def test_images_come_back_from_their_fields() -> None:
    images = Images(28, 1, invert=True)
    assert Images(**dataclasses.asdict(images)) == images


@pytest.mark.parametrize(("size", "channels"), [(0, 1), (28, 2)])
def test_impossible_images(size: int, channels: int) -> None:
    with pytest.raises(OptionError, match="must be"):
        Images(size, channels)


@pytest.mark.parametrize("content", [b"", b"not an image", png(image(size=64))[:900]])
def test_a_damaged_image_is_named(write, content: bytes) -> None:
    root = write("support", {"a/1.png": png(image()), "b/broken.png": content})
    with pytest.raises(DataError, match=r"b/broken\.png cannot be read.*repair or remove"):
        Images(8, 3).read_tasks(root, root)


def test_paths_are_images(write) -> None:
    root = write("support", {"1.png": png(image()), "2.png": png(image(size=20)), "no.txt": b"text"})
    paths = [root / "1.png", root / "2.png"]
    inputs = Images(8, 1)
    for given in (paths, [str(path) for path in paths], tuple(paths)):
        np.testing.assert_array_equal(inputs.prepare(given), inputs.read_all(paths))
    with pytest.raises(DataError, match=r"no\.txt cannot be read"):
        inputs.prepare([str(root / "no.txt")])
    with pytest.raises(DataError, match=r"3\.png"):
        inputs.prepare([root / "3.png"])


def test_a_folder_of_class_folders(write) -> None:
    files = {f"{name}/{i}.png": png(image(i, size=20 + i)) for name in ("cat", "ant") for i in (2, 1)}
    root = write("support", files | {"README.md": b"", "cat/.hidden.png": b"", "cat/notes.txt": b"", ".git/x": b""})
    classes = class_folders(root)
    assert list(classes) == ["ant", "cat"]
    assert [path.name for path in classes["cat"]] == ["1.png", "2.png"]
    pixels = Images(8, 1).read_all(classes["cat"])
    assert (pixels.shape, pixels.dtype) == ((2, 8, 8, 1), np.uint8)
    task, *_ = Images(8, 1).read_tasks(root, root).tasks
    assert (task.x.shape, task.x.dtype) == ((4, 8, 8, 1), np.uint8)
    np.testing.assert_array_equal(task.x[2:], pixels)
    np.testing.assert_array_equal(task.y, [0, 0, 1, 1])


def test_queries_with_and_without_classes(write) -> None:
    root = write("query", {"a/1.png": png(image()), "b/2.png": png(image(1)), "readme.txt": b""})
    files = images_to_classify(root)
    assert [(path.name, name) for path, name in files] == [("1.png", "a"), ("2.png", "b")]
    files = images_to_classify(root / "a")
    assert [(path.name, name) for path, name in files] == [("1.png", None)]
    assert images_to_classify(root / "a" / "1.png") == [(root / "a" / "1.png", None)]
    read = Images(8, 3).read_tasks(root, root)
    assert read.queries == [(root / "a" / "1.png",), (root / "b" / "2.png",)]
    assert (read.classes, read.truth) == (("a", "b"), ["a", "b"])
    np.testing.assert_array_equal(read.tasks[0].query[0], np.asarray(image()))


def test_folders_that_cannot_be_used(write) -> None:
    picture = png(image())
    with pytest.raises(DataError, match="is not a folder"):
        class_folders("/does/not/exist")
    with pytest.raises(DataError, match="no class folders"):
        class_folders(write("loose", {"1.png": picture}))
    with pytest.raises(DataError, match=r"empty.* has no images"):
        class_folders(write("support", {"a/1.png": picture, "empty/notes.txt": b""}))
    with pytest.raises(DataError, match="has no images; expected"):
        images_to_classify(write("nothing", {"notes.txt": b""}))
    with pytest.raises(DataError, match="both images"):
        images_to_classify(write("mixed", {"1.png": picture, "a/1.png": picture}))


def test_images_that_are_no_files_are_left_out_with_a_warning(write) -> None:
    root = write("data", {"cat/1.png": png(image())})
    os.mkfifo(root / "cat" / "2.png")
    (root / "cat" / "folder.png").mkdir()
    with pytest.warns(UserWarning, match=r"2\.png is a broken link, a pipe or a device; it is left out"):
        assert class_folders(root) == {"cat": [root / "cat" / "1.png"]}
    with pytest.raises(DataError, match="cannot be read: it is a folder, a pipe or a device"):
        decode(root / "cat" / "2.png", "2.png")


def test_images_of_too_many_pixels() -> None:
    """A few kilobytes that unpack to hundreds of megabytes."""
    large = png(Image.new("1", (9000, 9000)))
    assert len(large) < 100_000
    with pytest.raises(DataError, match=r"it has 9000 × 9000 pixels, and at most 67108864 are read"):
        decode(large, "large.png")


def test_what_is_drawn_by_a_program_is_no_image() -> None:
    """Pillow runs Ghostscript for PostScript, whatever the file is called."""
    file = io.BytesIO()
    image().save(file, "EPS")
    with pytest.raises(DataError, match="its content is not an image"):
        decode(file.getvalue(), "cat.png")
