"""Where the server listens, and who may use it."""

import pytest

from mtnets import OptionError
from mtnets.cli import main
from mtnets.serving.access import LOOPBACK, TOKEN, Access
from mtnets.serving.limits import Limits

SECRET = "0123456789abcdef"


@pytest.fixture(autouse=True)
def no_token(monkeypatch) -> None:
    monkeypatch.delenv(TOKEN, raising=False)


def test_this_machine_needs_no_token() -> None:
    assert Access().token is None
    assert Access().hosts(None) == LOOPBACK
    assert Access(allow_host=("box",)).hosts(None) == ("box", *LOOPBACK)


def test_other_machines_need_one(tmp_path, monkeypatch) -> None:
    with pytest.raises(OptionError, match=r"host is '0\.0\.0\.0', which other machines reach; set a token"):
        _ = Access("0.0.0.0").token
    assert Access("0.0.0.0", public=True).token is None
    path = tmp_path / "token"
    path.write_text(f"{SECRET}\n")
    access = Access("0.0.0.0", token_file=str(path))
    assert access.token == SECRET
    assert access.hosts(SECRET) is None
    monkeypatch.setenv(TOKEN, SECRET)
    assert Access("0.0.0.0").token == SECRET
    with pytest.raises(OptionError, match=r"public is True and there is a token"):
        _ = Access("0.0.0.0", public=True).token


@pytest.mark.parametrize("content", [b"short", b"0123456789abcde\xff", b"0123456789abc\ndef", b""])
def test_a_token_that_is_none(content, tmp_path) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(OptionError, match="token"):
        _ = Access(token_file=str(path)).token


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"port": 65536}, "port is 65536; it must be from 0 to 65535"),
        ({"port": "x"}, "port is 'x'; it must be a whole number"),
        ({"allow_frame": ("https://a b",)}, "allow_frame is 'https://a b'; name a site"),
        ({"allow_frame": ("huggingface.co",)}, "allow_frame is 'huggingface.co'; name a site"),
    ],
)
def test_access_that_is_none(options, sentence) -> None:
    with pytest.raises(OptionError, match=sentence):
        Access(**options)


@pytest.mark.parametrize("options", [{"tasks": 0}, {"body_mb": 0}, {"window_ms": -1}, {"waiting": 1.5}])
def test_limits_that_are_none(options) -> None:
    with pytest.raises(OptionError, match=f"{next(iter(options))} is .*; it must be"):
        Limits(**options)


def test_the_command(capsys, tmp_path) -> None:
    assert main(["serve", "sine-10shot", "--host", "0.0.0.0"]) == 1
    assert "--host is '0.0.0.0', which other machines reach; set a token, --token-file" in capsys.readouterr().err
    assert main(["serve", "sine-10shot", "--token-file", str(tmp_path / "none")]) == 1
    assert "cannot be read" in capsys.readouterr().err
    assert main(["serve", "nothing-of-this-name"]) == 1
    assert "There is no learner in nothing-of-this-name" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    assert "mtnets serve omniglot-any-way-1shot" in capsys.readouterr().out
