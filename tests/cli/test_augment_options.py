"""Augmentations on the command line."""

import re

import pytest

from mtnets.cli import main
from mtnets.cli.options import build_tasks, task_options
from mtnets.cli.parsing import parsed
from mtnets.tasks import Glyphs


def test_they_are_words_after_a_flag() -> None:
    words = ["--augment", "crop(padding=2)", "rotate", "--augment-where", "query"]
    options = build_tasks(Glyphs, parsed(task_options(Glyphs), prog="mtnets", args=words, example="mtnets")).options
    assert isinstance(options, Glyphs)
    assert (options.augment, options.augment_where) == (("crop(padding=2)", "rotate"), "query")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--augment", "crop", "flop"],
            "There is no augmentation 'flop'; perhaps 'flip' is meant; choose one of flip,",
        ),
        (["--augment", "crop(padding=28)"], "padding is 28, and a window could miss images of 28 pixels; write crop(p"),
        (["--augment-where", "query"], "--augment-where is 'query', and nothing is augmented; leave it out, or say "),
        (["--augment", "crop", "--augment-where", "both"], "see mtnets train glyphs --help"),
    ],
)
def test_what_cannot_be_is_one_sentence(words: list[str], message: str, capsys, tmp_path) -> None:
    assert main(["train", "glyphs", *words, "--out", str(tmp_path / "run"), "--quiet"]) in (1, 2)
    (sentence,) = capsys.readouterr().err.strip().splitlines()
    assert re.search(re.escape(message), sentence)
    assert not (tmp_path / "run").exists()
