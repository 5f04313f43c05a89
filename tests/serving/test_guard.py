"""Who may ask the server, and how much at a time."""

import asyncio

import pytest
from starlette.testclient import TestClient

from mtnets.serving.guard import Guard
from mtnets.serving.metrics import Metrics

TOKEN = "a-token-of-the-tests"


async def echo(scope, receive, send) -> None:
    body = (await receive())["body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def guarded(token=None, hosts=("localhost", "::1"), frames=(), app=echo) -> TestClient:
    return TestClient(Guard(app, Metrics(), token, hosts, frames, most_bytes=10), base_url="http://localhost:8000")


def test_what_passes() -> None:
    answer = guarded().post("/v1", content=b"0123456789", headers={"origin": "http://localhost:8000"})
    assert (answer.status_code, answer.content) == (200, b"0123456789")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert guarded().get("/", headers={"host": "[::1]:8000"}).status_code == 200
    assert guarded(hosts=None).get("/", headers={"host": "example.org"}).status_code == 200


@pytest.mark.parametrize("host", ["example.org", "localhost.example.org", "", "[", "localhost@example.org", "a]["])
def test_another_host_is_refused(host) -> None:
    answer = guarded().get("/", headers={"host": host})
    assert answer.status_code == 421
    assert "--allow-host" in answer.json()["detail"]


@pytest.mark.parametrize("origin", ["http://example.org", "null", "http://localhost:9000", "http://localhost"])
def test_a_page_of_another_site_is_refused(origin) -> None:
    assert guarded().post("/v1", headers={"origin": origin}).status_code == 403


def test_a_token() -> None:
    client = guarded(TOKEN)
    for wrong in ({}, {"authorization": TOKEN}, {"authorization": "Bearer"}, {"authorization": f"Bearer {TOKEN}x"}):
        answer = client.get("/v1/learners", headers=wrong)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert client.get("/metrics").status_code == 401
    assert client.get("/v1/learners", headers={"authorization": f"bearer {TOKEN}"}).status_code == 200
    for path in ("/", "/page.js", "/healthz"):
        assert client.get(path).status_code == 200


def test_a_body_that_is_too_large() -> None:
    client = guarded()
    assert client.post("/", content=b"0" * 11).status_code == 413
    assert client.post("/", content=iter([b"0" * 6, b"0" * 6])).status_code == 413  # which does not say how large it is
    assert client.post("/", content=b"0", headers={"content-length": "-1"}).status_code == 413


def test_a_client_that_leaves() -> None:
    sent = []

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "path": "/", "method": "POST", "headers": [(b"host", b"localhost")]}
    asyncio.run(Guard(echo, Metrics(), None, ("localhost",), (), 10)(scope, receive, send))
    assert sent[0]["status"] == 400


def test_frames() -> None:
    assert "frame-ancestors 'none'" in guarded().get("/").headers["content-security-policy"]
    policy = guarded(frames=("https://huggingface.co",)).get("/").headers["content-security-policy"]
    assert policy.endswith("frame-ancestors https://huggingface.co")
