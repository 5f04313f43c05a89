"""CSV files of every encoding and separator, as text by column."""

import gzip
from pathlib import Path

import pytest

from mtnets.errors import DataError
from mtnets.tasks.inputs.csv_files import read_csv


def read(tmp_path: Path, content: str | bytes, encoding: str = "utf-8", name: str = "data.csv"):
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return read_csv(file)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"])
def test_encodings(tmp_path, encoding: str) -> None:
    assert read(tmp_path, "größe;b\n1,5;é\n", encoding) == {"größe": ["1,5"], "b": ["é"]}


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("line", ["\n", "\r\n", "\r"])
def test_separators_and_ends_of_lines(tmp_path, separator: str, line: str) -> None:
    text = line.join(separator.join(row) for row in (["a", "b c", "d"], ["1", "", "x"], ["2", "'", "y"]))
    assert read(tmp_path, text) == {"a": ["1", "2"], "b c": ["", "'"], "d": ["x", "y"]}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a;b\n1,5;2,5\n3;4\n", {"a": ["1,5", "3"], "b": ["2,5", "4"]}),  # decimal commas tell nothing
        ('a,b\n"x, ""y""\nz",2\n', {"a": ['x, "y"\nz'], "b": ["2"]}),
        ("a\n1\n\n2\n", {"a": ["1", "2"]}),
        ("sep=;\na,b;c\n1,5;2\n", {"a,b": ["1,5"], "c": ["2"]}),
        ("a,b\n", {"a": [], "b": []}),
        (",a,\n0,2,\n1,3,\n", {"Unnamed: 0": ["0", "1"], "a": ["2", "3"]}),  # the index of pandas; a last separator
        ("one column of text\nx y\n", {"one column of text": ["x y"]}),
    ],
)
def test_cells_as_they_are(tmp_path, content: str, expected: dict[str, list[str]]) -> None:
    assert read(tmp_path, content) == expected
    assert read(tmp_path, gzip.compress(content.encode()), name="data.csv.gz") == expected


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "data.csv cannot be read: it is empty"),
        ("a,b,a\n1,2,3\n", "Two columns of .*data.csv are called 'a'"),
        ("a, b,b\n1,2,3\n", "Two columns of .*data.csv are called . b. and .b.; rename one"),
        ("a,b\n1,2\n1,2,3\n", "has 3 cells in line 3 and 2 columns; .*decimal commas must be quoted"),
        ("a;b\n1;2\n1;2;3\n", r"has 3 cells in line 3 and 2 columns; every row needs one cell for each\."),
        ("a,b\n1\n", "has 1 cells in line 2 and 2 columns"),
        ('a,b\n"1,2\n', r"cannot be read: unexpected end of data \(line 2\)"),
    ],
)
def test_what_cannot_be_read_gets_a_sentence(tmp_path, content: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read(tmp_path, content)
