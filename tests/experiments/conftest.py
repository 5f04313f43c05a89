"""Small data of the layout that experiments expect."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def root(tmp_path_factory) -> Path:
    """CIFAR-FS with five classes of 16 images in each split."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    with zipfile.ZipFile(folder / "cifar_fs.zip", "w") as archive:
        for split in ("train", "val", "test"):
            for name in "abcde":
                for i in range(16):
                    file = io.BytesIO()
                    Image.fromarray(random.integers(0, 256, (16, 16, 3), np.uint8)).save(file, "PNG")
                    archive.writestr(f"cifar_fs/{split}/{split}-{name}/{i:02d}.png", file.getvalue())
    return folder
