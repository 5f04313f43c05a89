"""Learners on the Hugging Face Hub, which is a small server of this machine here."""

import dataclasses
import functools
import hashlib
import http.server
import importlib
import json
import re
import sys
import threading
from pathlib import Path
from typing import ClassVar

import jax
import numpy as np
import pytest
from hub_problems import RECORD, learner_of

import mtnets
from mtnets import OptionError, RunError
from mtnets.interop import load_from_hub, model_card, push_to_hub
from mtnets.learner.tensors import write_tensors

COMMIT = "0123456789abcdef0123456789abcdef01234567"
X = np.linspace(-2, 2, 5, dtype=np.float32)[:, None]


@pytest.fixture(scope="module")
def learner():
    return learner_of(mtnets.models.mlp(1, 6, 1, init_std=0.3), **RECORD)


def same(a, b):
    for x, y in zip(jax.tree.leaves(a.meta), jax.tree.leaves(b.meta), strict=True):
        np.testing.assert_array_equal(x, y)
    assert a.method == b.method
    np.testing.assert_array_equal(a.adapt(X, np.sin(X))(X), b.adapt(X, np.sin(X))(X))


def test_without_the_library(learner, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # importing it fails
    with pytest.raises(OptionError, match=r"pip install 'mtnets\[hub\]'"):
        load_from_hub("someone/sine")
    with pytest.raises(OptionError, match=r"pip install 'mtnets\[hub\]'"):
        push_to_hub(learner, "someone/sine")


class Hub(http.server.BaseHTTPRequestHandler):
    """Repositories as folders, by name; one commit each."""

    repositories: ClassVar[dict] = {}
    asked: ClassVar[list] = []
    says_sizes = True

    def log_message(self, format, *args):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self):
        path = self.path.partition("?")[0]
        listing = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/(\w+))?", path)
        file = re.fullmatch(rf"/([^/]+/[^/]+)/resolve/{COMMIT}/(.+)", path)
        name = (listing or file)[1] if listing or file else ""
        if name not in self.repositories:
            return self.answer(404, X_Error_Code="RepoNotFound")
        folder = self.repositories[name]
        if listing:
            if listing[3] not in (None, "main", COMMIT):
                return self.answer(404, X_Error_Code="RevisionNotFound")
            files = sorted(p for p in folder.iterdir())
            sizes = {p.name: {"size": p.stat().st_size} if "blobs=" in self.path else {} for p in files}
            siblings = [{"rfilename": file} | (size if self.says_sizes else {}) for file, size in sizes.items()]
            revision = {"id": name, "sha": COMMIT, "siblings": siblings}
            tree = [{"type": "file", "path": p.name, "size": p.stat().st_size, "oid": "0"} for p in files]
            body = json.dumps(tree if listing[2] == "tree" else revision).encode()
            return self.answer(200, body, Content_Type="application/json")
        if self.command == "GET":
            self.asked.append(file[2])
        body = (folder / file[2]).read_bytes()
        return self.answer(200, body, ETag=f'"{hashlib.sha1(body).hexdigest()}"', X_Repo_Commit=COMMIT)

    do_HEAD = do_GET


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The library, with a server on this machine for the Hub."""
    library = pytest.importorskip("huggingface_hub", reason="the Hub needs mtnets[hub]")
    importlib.import_module("huggingface_hub.utils").disable_progress_bars()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    options = {"endpoint": f"http://127.0.0.1:{server.server_port}", "cache_dir": tmp_path / "cache"}
    monkeypatch.setattr(library, "snapshot_download", functools.partial(library.snapshot_download, **options))

    class Api(library.HfApi):
        def __init__(self, endpoint=options["endpoint"], **others):
            super().__init__(endpoint, **others)

    monkeypatch.setattr(library, "HfApi", Api)
    monkeypatch.setattr(Hub, "repositories", {})
    monkeypatch.setattr(Hub, "asked", [])
    yield library
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_is_fetched_is_the_learner_and_no_pickle(hub, learner, tmp_path) -> None:
    learner.save(tmp_path / "there")
    (tmp_path / "there" / "README.md").write_text(model_card(learner, "someone/sine"))
    (tmp_path / "there" / "pytorch_model.bin").write_bytes(b"a pickle")
    (tmp_path / "there" / "evil.py").write_bytes(b"code")
    Hub.repositories["someone/sine"] = tmp_path / "there"
    for revision in (None, COMMIT):
        same(load_from_hub("someone/sine", revision=revision), learner)
    assert sorted(Hub.asked) == ["README.md", "learner.json", "learner.safetensors"]
    own = dataclasses.replace(learner.model)
    dataclasses.replace(learner, model=own).save(tmp_path / "own")
    Hub.repositories["someone/own"] = tmp_path / "own"
    with pytest.raises(RunError, match=r"not a built-in one.*model="):
        load_from_hub("someone/own")
    same(load_from_hub("someone/own", model=own), learner)


def test_what_is_not_there_is_named(hub, learner, tmp_path) -> None:
    with pytest.raises(
        RunError, match=r"no repository 'someone/none' that this token may read.*hf auth login.*mtnets\.load"
    ):
        load_from_hub("someone/none")
    with pytest.raises(RunError, match="no repository 'no such/name/at all'"):
        load_from_hub("no such/name/at all")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "README.md").write_text("nothing else")
    Hub.repositories["someone/empty"] = tmp_path / "empty"
    with pytest.raises(RunError, match=r"someone/empty has no learner\.safetensors"):
        load_from_hub("someone/empty")
    with pytest.raises(RunError, match="someone/empty has no revision 'v2'"):
        load_from_hub("someone/empty", revision="v2")
    for number, card in enumerate(({}, {"format": 1, "model": {"network": "mlp", "sizes": [1, 2], "depth": 3}})):
        write_tensors(tmp_path / str(number) / "learner.safetensors", {}, card)
        Hub.repositories[f"someone/{number}"] = tmp_path / str(number)
        with pytest.raises(RunError, match=f"someone--{number}.* is not a learner that this version of mtnets reads"):
            load_from_hub(f"someone/{number}")


def test_what_is_too_large_is_not_fetched(hub, learner, monkeypatch, tmp_path) -> None:
    learner.save(tmp_path / "there")
    (tmp_path / "there" / "pytorch_model.bin").write_bytes(bytes(10_000))  # not fetched, and so not counted
    Hub.repositories["someone/sine"] = tmp_path / "there"
    size = sum((tmp_path / "there" / name).stat().st_size for name in ("learner.json", "learner.safetensors"))
    with pytest.raises(RunError, match=rf"someone/sine has {size} bytes, and at most {size - 1} .*most_bytes={size}"):
        load_from_hub("someone/sine", most_bytes=size - 1)
    assert Hub.asked == []
    same(load_from_hub("someone/sine", most_bytes=size), learner)
    for bad in (0, 1.5, "all"):
        with pytest.raises(OptionError, match=r"most_bytes is .*; it must be a whole number above 0"):
            load_from_hub("someone/sine", most_bytes=bad)
    monkeypatch.setattr(Hub, "says_sizes", False)
    with pytest.raises(RunError, match=r"not say how large learner\.json of someone/sine is; download it yourself"):
        load_from_hub("someone/sine")


def test_no_network(hub, learner, monkeypatch, tmp_path) -> None:
    closed = {"endpoint": "http://127.0.0.1:9", "cache_dir": tmp_path / "none"}
    monkeypatch.setattr(hub, "HfApi", functools.partial(hub.HfApi, endpoint=closed["endpoint"]))
    learner.save(tmp_path / "there")
    Hub.repositories["someone/sine"] = tmp_path / "there"
    hub.snapshot_download("someone/sine")
    same(load_from_hub("someone/sine"), learner)  # from the cache
    monkeypatch.setattr(hub, "snapshot_download", functools.partial(hub.snapshot_download.func, **closed))
    with pytest.raises(RunError, match=r"The Hub cannot be reached and someone/sine is not in its cache"):
        load_from_hub("someone/sine")
    with pytest.raises(RunError, match=r"The Hub did not serve someone/sine: .*Check the network"):
        push_to_hub(learner, "someone/sine", token="hf_none")


def test_what_is_pushed(hub, learner, monkeypatch, tmp_path) -> None:
    """Into a repository that is then read again."""
    calls = []

    class Api(hub.HfApi):
        def __init__(self, **options):
            calls.append(options)
            super().__init__(**options)

        def create_repo(self, repo_id, **options):
            calls.append(options)
            return f"https://hub/{repo_id}"

        def upload_folder(self, *, repo_id, folder_path, **options):
            calls.append(options)
            Hub.repositories[repo_id] = tmp_path / "pushed"
            for name in options["allow_patterns"]:
                target = tmp_path / "pushed" / name
                target.parent.mkdir(exist_ok=True)
                target.write_bytes((Path(folder_path) / name).read_bytes())

    monkeypatch.setattr(hub, "HfApi", Api)
    address = push_to_hub(learner, "someone/new", private=True, token="hf_x", licence="mit", commit_message="first")
    assert address == "https://hub/someone/new"
    assert calls[0]["token"] == "hf_x"
    assert calls[1] == {"private": True, "exist_ok": True}
    assert calls[2]["commit_message"] == "first"
    same(load_from_hub("someone/new"), learner)
    assert "# someone/new" in (tmp_path / "pushed" / "README.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (403, None, "The token has no write access to someone/sine"),
        (401, "RepoNotFound", "The Hub has no repository 'someone/sine' that this token may read"),
        (403, "GatedRepo", "must be granted by its owner"),
        (500, None, "The Hub did not serve someone/sine"),
    ],
)
def test_answers_of_the_hub(hub, learner, monkeypatch, status, code, message) -> None:
    def refuse(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(status, **({} if code is None else {"X_Error_Code": code}))

    monkeypatch.setattr(Hub, "do_POST", refuse, raising=False)
    with pytest.raises(RunError, match=message):
        push_to_hub(learner, "someone/sine", token="hf_none")
