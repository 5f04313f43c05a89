"""What people read when something is wrong."""

import pickle

import pytest

from mtnets.errors import DataError, printable, warn


def test_messages_hold_nothing_that_a_terminal_obeys() -> None:
    """Names in them come from foreign files."""
    name = "\x1b[2J\r\nmtnets: done\u202e\x9b\udcff é 漢 😀 \\x"
    shown = r"\x1b[2J\r\nmtnets: done\u202e\x9b\udcff é 漢 😀 \x"
    assert printable(name) == shown
    error = DataError(f"{name} is damaged.")
    assert str(error) == f"{shown} is damaged." == str(pickle.loads(pickle.dumps(error)))
    with pytest.warns(UserWarning, match=r"\\x1b\[2J"):
        warn(name)
