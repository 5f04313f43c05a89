"""The command from its start to its end, in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest


def started(*options: str) -> tuple[subprocess.Popen, str]:
    command = [sys.executable, "-m", "mtnets", "serve", "sine-10shot", "--port", "0", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    assert process.stderr is not None
    return process, next(line for line in process.stderr if line.startswith("http")).strip()


def post(address: str, body: object) -> dict:
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"{address}v1/tasks", json.dumps(body).encode(), headers)
    return json.load(urllib.request.urlopen(request, timeout=300))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_has_begun_is_answered_when_it_stops(number) -> None:
    process, address = started()
    answers = []
    asking = threading.Thread(target=lambda: answers.append(post(address, {"x": [[1], [2]], "y": [1, 2]})))
    asking.start()  # the first request of its size, which waits for a compilation
    while b"mtnets_requests_inside 1.0" not in urllib.request.urlopen(f"{address}metrics").read():
        time.sleep(0.02)
    process.send_signal(number)
    asking.join(120)
    assert answers[0]["examples"] == 2
    assert process.wait(60) == 0
    assert "stopping when what has begun is answered; once more stops at once" in process.stderr.read()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{address}healthz")


@pytest.mark.slow
def test_an_address_that_is_taken_is_one_sentence() -> None:
    process, address = started()
    try:
        port = address.rstrip("/").rpartition(":")[2]
        command = [sys.executable, "-m", "mtnets", "serve", "sine-10shot", "--port", port]
        second = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert second.returncode == 1
        assert f"port {port}, where nothing can listen" in second.stderr
        assert "Traceback" not in second.stderr
    finally:
        process.kill()
        process.wait()
