"""The server's answers are what the learner says alone, and what is wrong is one sentence."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from importlib import resources

import numpy as np
import pytest
from small_learners import untrained
from starlette.testclient import TestClient

from mtnets.serving.app import create_app
from mtnets.serving.limits import Limits

LIMITS = Limits(body_mb=0.1, examples=8, classes=3, inner_steps=6, tasks=40, together=2)
X, Q = [[-2.0], [0.5], [1.0], [3.0]], [[0.2], [1.5]]
RTOL = 2e-5  # programs for several tasks round in another order


def curve(i: int) -> list[float]:
    return [(1 + i) * np.sin(x + i) / 4 for (x,) in X]


@pytest.fixture(scope="module")
def learner():
    return untrained("mse", 1, 8, 1)


@pytest.fixture(scope="module")
def classifier():
    return untrained("cross-entropy", 2, 8, 3)


@pytest.fixture(scope="module")
def client(learner, classifier):
    app = create_app({"curves": learner, "places": classifier}, LIMITS)
    with TestClient(app, base_url="http://localhost") as client:
        yield client


@pytest.fixture
def task(client):
    answer = client.post("/v1/tasks", json={"x": X, "y": curve(0)})
    assert answer.status_code == 201
    return f"/v1/tasks/{answer.json()['id']}"


def test_tasks_learned_at_the_same_time_are_those_learned_alone(client, learner) -> None:
    def ask(i: int) -> list[list[float]]:
        id = client.post("/v1/tasks", json={"x": X, "y": curve(i)}).json()["id"]
        return client.post(f"/v1/tasks/{id}/predict", json={"x": Q}).json()["numbers"]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(16)))
    for i, answer in enumerate(answers):
        alone = learner.adapt(np.array(X), np.array(curve(i)))(np.array(Q))
        np.testing.assert_allclose(answer, alone, rtol=RTOL, atol=RTOL)


def test_a_task_from_its_making_to_its_end(client, learner, task) -> None:
    told = client.get(task).json()
    assert (told["learner"], told["examples"], told["inner_steps"], told["classes"]) == ("curves", 4, 2, None)
    assert (told["expires_in"], told["notes"]) == (60 * LIMITS.task_minutes, [])
    model = learner.adapt(np.array(X), np.array(curve(0)))
    steps = client.post(f"{task}/steps", json={"x": Q}).json()
    assert len(steps["predictions"]) == 3
    predicted = client.post(f"{task}/predict", json={"x": Q}).json()
    np.testing.assert_allclose(steps["predictions"][-1]["numbers"], predicted["numbers"], rtol=RTOL)
    start = learner.adapt(np.array(X), np.array(curve(0)), inner_steps=0)(np.array(Q))
    np.testing.assert_allclose(steps["predictions"][0]["numbers"], start, rtol=RTOL, atol=RTOL)
    assert [len(layer["units"]) for layer in steps["moved"]] == [8, 1]
    assert client.post(f"{task}/examples", json={"x": Q, "y": [0.1, 0.2]}).json()["examples"] == 6
    model = model.update(np.array(X + Q), np.array([*curve(0), 0.1, 0.2]))
    again = client.post(f"{task}/predict", json={"x": Q}).json()["numbers"]
    np.testing.assert_allclose(again, model(np.array(Q)), rtol=RTOL, atol=RTOL)
    assert client.post(f"{task}/examples", json={"x": Q, "y": [0.1, 0.2], "anew": True}).json()["examples"] == 8
    x, y = np.array(X + Q + Q), np.array([*curve(0), 0.1, 0.2, 0.1, 0.2])
    anew = client.post(f"{task}/predict", json={"x": Q}).json()["numbers"]
    np.testing.assert_allclose(anew, learner.adapt(x, y)(np.array(Q)), rtol=RTOL, atol=RTOL)
    refused = client.post(f"{task}/examples", json={"x": Q, "y": [0, 0]}).json()["detail"]
    assert refused == "The task would have 10 examples; at most 8 are taken: send fewer, or make another task."
    assert any(told["id"] == each["id"] for each in client.get("/v1/tasks").json()["tasks"])
    assert client.delete(task).status_code == 204
    assert client.get(task).status_code == 404


def test_classes_have_the_names_that_the_client_gives(client, classifier) -> None:
    x, y = [[0, 1], [1, 0], [0, 2], [2, 0]], ["up", "right", "up", "right"]
    made = client.post("/v1/tasks", json={"learner": "places", "x": x, "y": y}).json()
    assert made["classes"] == ["right", "up"]
    answer = client.post(f"/v1/tasks/{made['id']}/predict", json={"x": [[0, 1.5]]}).json()
    model = classifier.adapt(np.array(x, float), np.array([1, 0, 1, 0]))
    np.testing.assert_allclose(answer["probabilities"], model.probabilities([[0, 1.5]])[:, :2], rtol=1e-4)
    assert answer["labels"] == [["right", "up"][int(np.argmax(answer["probabilities"]))]]
    more = {"x": [[3, 3]], "y": ["both"]}
    refused = client.post(f"/v1/tasks/{made['id']}/examples", json=more)
    assert (refused.status_code, "anew=true" in refused.json()["detail"]) == (422, True)
    anew = client.post(f"/v1/tasks/{made['id']}/examples", json={**more, "anew": True}).json()
    assert anew["classes"] == ["both", "right", "up"]
    assert len(client.post(f"/v1/tasks/{made['id']}/predict", json={"x": [[1, 1]]}).json()["classes"]) == 3


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"x": [], "y": []}, r"^x is \[\]; it must be a list with at least 1 item: /docs lists the forms\.$"),
        ({"y": [1]}, r"^x is missing; send what /docs lists\.$"),
        ({"x": 5}, r"^x is 5; it must be a list: "),
        ({"x": X, "y": "abc" * 50}, r'^y is "(abc)+ …; it must be a list: '),
        ({"x": X, "learner": 3}, r"^learner is 3; it must be text: "),
        ({"x": X}, r"^For the learner 'curves': y is missing; send a label or number"),
        ({"x": X, "y": [1]}, r"x has 4 examples and y 1; send as many\."),
        ({"x": [["a"]], "y": [1]}, r"x\[0\] is \['a'\]; send numbers"),
        ({"x": [[1, 2]], "y": [1]}, r"x has shape \(1, 2\); this learner needs"),
        ({"x": [[1e99]], "y": [1]}, r"x is 1e\+99 at \(0, 0\); numbers must be within"),
        ({"x": X * 3, "y": [1] * 12}, r"x has 12 examples; send at most 8\."),
        ({"x": X, "y": curve(0), "inner_steps": 7}, r"inner_steps is 7; ask for at most 6\."),
        ({"x": X, "y": curve(0), "inner_steps": -1}, r"^inner_steps is -1; it must be at least 0: "),
        ({"x": X, "y": curve(0), "inner_steps": 1.5}, r"^inner_steps is 1\.5; it must be a whole number: "),
        ({"x": X, "y": curve(0), "more": 1}, r"^There is no entry 'more' in this request; leave it out"),
        ({"x": X, "y": curve(0), "learner": "curve"}, r"learner is 'curve', which is not served; .*'curves' is meant"),
        ({"x": [[0, 0], [1, 1]], "y": ["a", 1], "learner": "places"}, r"y\[1\] is 1; labels must be all text"),
        ({"x": [[0, 0], [1, 1]], "y": [True, False], "learner": "places"}, r"y\[0\] is True; labels must be"),
        ({"x": X, "y": [1, 2, 3, 4], "learner": "places"}, r"^For the learner 'places': y has 4 classes; send at most"),
        (X, r"^The body is \[\[-2\.0\], .*; it must be an object: "),
    ],
)
def test_what_does_not_fit_is_one_sentence(client, body, sentence) -> None:
    answer = client.post("/v1/tasks", json=body)
    assert answer.status_code == 422
    assert re.search(sentence, answer.json()["detail"])
    assert "\n" not in answer.json()["detail"]


@pytest.mark.parametrize(
    ("content", "kind", "status", "sentence"),
    [
        (b"[" * 50_000, "application/json", 400, "is no JSON in UTF-8, or nested too deeply; send what /docs lists."),
        (b"{", "application/json", 422, "The body is no JSON (Expecting property name"),
        (b"", "application/json", 422, "The body is missing; send what /docs lists."),
        (b"\xff", "application/json", 400, "The body is no JSON in UTF-8"),
        (json.dumps({"x": X, "y": curve(0)}).encode(), "text/plain", 422, "send it with the header Content-Type"),
        (b" " * 200_000, "application/json", 413, "The body is larger than 100000 bytes; send less"),
    ],
)
def test_a_body_that_is_none(client, content, kind, status, sentence) -> None:
    """Text of another type is what forms of other sites may send."""
    answer = client.post("/v1/tasks", content=content, headers={"content-type": kind})
    assert answer.status_code == status
    assert answer.json().keys() == {"detail"}
    assert sentence in answer.json()["detail"]


def test_addresses_that_are_none(client) -> None:
    assert client.get("/v1/nothing").json()["detail"].startswith("There is no GET /v1/nothing; ")
    assert client.get("/v1/tasks/x/predict").status_code == 405
    assert client.post("/v1/tasks/x/predict", json={"x": Q}).status_code == 404
    assert client.get("/v1/learners/x").status_code == 404
    too_long = client.get(f"/v1/tasks/{'x' * 70}")
    assert too_long.json()["detail"].endswith("it must be text of at most 64 characters: /docs lists the forms.")


def test_what_learners_take(client) -> None:
    first, second = client.get("/v1/learners").json()["learners"]
    assert (first["predicts"], first["takes"], first["input_shape"], first["classes"]) == (
        "numbers",
        "numbers",
        [1],
        None,
    )
    assert (second["predicts"], second["classes"]) == ("labels", 3)
    assert client.get("/v1/learners/places").json() == second
    assert client.get("/v1/playground").json() == {"drawings": None, "points": "curves", "tables": False}


def test_health_and_metrics(client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}
    client.get("/v1/learners")
    text = client.get("/metrics").text
    assert re.search(r'mtnets_requests_total\{method="GET",route="/v1/learners",status="200"\} \d', text)
    assert "mtnets_tasks " in text


def test_the_reference_lists_every_request(client) -> None:
    document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.")
    page = client.get("/docs").text
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert f"{method.upper()} {path}" in page
            assert operation["description"]
    assert "<script" not in page


def test_pages_need_nothing_from_elsewhere(client) -> None:
    for name in ("index.html", "page.js", "page.css"):
        text = (resources.files("mtnets.serving") / "page" / name).read_text("utf-8")
        assert not re.search(r"https?://(?!www\.w3\.org)", text)
        assert client.get("/" if name == "index.html" else f"/{name}").text == text
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    html = (resources.files("mtnets.serving") / "page" / "index.html").read_text("utf-8")
    assert not re.search(r"<script(?![^>]*src=)|\son\w+=|style=", html)  # nothing that the policy would refuse


def test_clients_who_do_not_know_each_other_see_no_list(learner) -> None:
    client = TestClient(create_app({"sine": learner}, lists=False), base_url="http://localhost")
    assert client.get("/v1/tasks").status_code == 405
    assert "get" not in client.get("/openapi.json").json()["paths"]["/v1/tasks"]
