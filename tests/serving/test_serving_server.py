"""The command from its start to its end, in a process of its own."""

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from serve_process import STOP_SECONDS, serving, stopped

from mtnets.cli.serve import TABS, greeting
from mtnets.errors import OptionError
from mtnets.serving.access import TOKEN, Access
from mtnets.serving.forms import Playground
from mtnets.serving.limits import Limits
from mtnets.serving.server import serve


def post(address: str, body: object) -> dict:
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"{address}v1/tasks", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=300) as answer:
        return json.load(answer)


def fetched(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=60) as answer:
        return answer.read()


def begun(address: str, answers: list[dict]) -> threading.Thread:
    """A request that the server has begun: the first of its size, which waits for a compilation."""

    def ask() -> None:
        with contextlib.suppress(OSError):  # of a server that ended before it answered
            answers.append(post(address, {"x": [[1], [2]], "y": [1, 2]}))

    asking = threading.Thread(target=ask)
    asking.start()
    while b"mtnets_requests_inside 1.0" not in fetched(f"{address}metrics"):
        assert asking.is_alive(), "it was answered before anything was asked"
        time.sleep(0.02)
    return asking


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_has_begun_is_answered_when_it_stops(number) -> None:
    with serving("sine-10shot") as (process, address):
        answers = []
        asking = begun(address, answers)
        process.send_signal(number)
        asking.join(120)
        assert answers[0]["examples"] == 2
        assert process.wait(STOP_SECONDS) == 0
        assert "stopping when what has begun is answered; once more stops at once" in process.stderr.read()
        with pytest.raises(urllib.error.URLError):
            fetched(f"{address}healthz")


@pytest.mark.slow
def test_a_second_signal_ends_it_at_once() -> None:
    with serving("sine-10shot") as (process, address):
        answers = []
        asking = begun(address, answers)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert any("once more stops at once" in line for line in process.stderr)
        process.send_signal(signal.SIGINT)
        assert process.wait(STOP_SECONDS) == 128 + signal.SIGINT
        asking.join(STOP_SECONDS)
        assert answers == []
        assert "Traceback" not in process.stderr.read()


@pytest.mark.slow
def test_the_image_asks_how_the_server_is() -> None:
    """Its health check, with a token as in the image, while the server runs and after that."""
    text = (Path(__file__).parents[2] / "Dockerfile").read_text("utf-8")
    check = json.loads(re.search(r"^HEALTHCHECK.*?CMD (\[.*?\])$", text, re.M | re.S)[1])
    with serving("sine-10shot", "--host", "0.0.0.0", **{TOKEN: "a-token-of-the-tests"}) as (process, address):
        port = address.rstrip("/").rpartition(":")[2]
        command = [sys.executable, *(word.replace(":8000/", f":{port}/") for word in check[1:])]
        assert command != [sys.executable, *check[1:]]
        assert subprocess.run(command, timeout=60, check=False).returncode == 0
        assert stopped(process) == 0
    assert subprocess.run(command, timeout=60, capture_output=True, check=False).returncode != 0


@pytest.mark.slow
def test_an_address_that_is_taken_is_one_sentence() -> None:
    with serving("sine-10shot") as (process, address):
        port = address.rstrip("/").rpartition(":")[2]
        command = [sys.executable, "-m", "mtnets", "serve", "sine-10shot", "--port", port]
        second = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert second.returncode == 1
        taken = (
            f"mtnets: Port {port} of 127.0.0.1 is in use; stop what uses it, or take --port {int(port) + 1} (0 finds a"
        )
        assert taken in second.stderr
        assert "ERROR" not in second.stderr  # a line of uvicorn
        assert "Traceback" not in second.stderr
        assert stopped(process) == 0
        said = process.stderr.read()
        assert (
            f"serving sine-10shot; the page there has a curve (sine-10shot); {address}docs lists the requests" in said
        )
        assert said.endswith("stopped\n")


def test_where_nothing_can_listen_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(OptionError, match=rf"Port {port} of 127\.0\.0\.1 is in use; .* \(0 finds a free one\)"):
            serve(None, Access(port=port), Limits())
    with pytest.raises(
        OptionError, match=r"host is 203\.0\.113\.1 and port 0, where this machine cannot listen \(.+\);"
    ):
        serve(None, Access(host="203.0.113.1", port=0), Limits())  # an address of documentation (RFC 5737)


def test_the_greeting_says_what_fits() -> None:
    tabs = Playground(drawings=None, points="sine-10shot", tables=True)
    assert greeting("http://h:1/", ["sine-10shot"], tabs) == (
        "http://h:1/\nserving sine-10shot; the page there has a curve (sine-10shot), a table "
        "(tabular-classification, tabular-regression); http://h:1/docs lists the requests; Ctrl-C stops it"
    )
    none = greeting("http://h:1/", ["shops"], Playground(drawings=None, points=None, tables=False))
    assert f"serving shops; no tab of the page there fits; {TABS}; http://h:1/docs" in none
