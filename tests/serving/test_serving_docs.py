"""The requests of docs/serving.md are answered as the page says."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
from small_learners import untrained
from starlette.testclient import TestClient

import mtnets
from mtnets.cli.entry import _parse
from mtnets.cli.serve import Serve
from mtnets.serving.app import create_app
from mtnets.serving.limits import Limits

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "serving.md").read_text("utf-8")
ADDRESS = "http://127.0.0.1:8000"


def commands() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE, re.M | re.S)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]


def test_requests_of_the_page() -> None:
    app = create_app({"sine-10shot": untrained("mse", 1, 8, 1, inner_steps=5)})
    shown = json.loads(re.search(r"^```json\n(.*?)^```", PAGE, re.M | re.S)[1])
    task = ""
    with TestClient(app, base_url=ADDRESS) as client:
        for command in commands():
            _, *words = shlex.split(command.replace("$TASK", task))
            url = next(word for word in words if word.startswith(ADDRESS))
            after = {flag: words[words.index(flag) + 1] for flag in ("-X", "-H", "-d") if flag in words}
            headers = dict([after["-H"].split(": ")]) if "-H" in after else {}
            method = after.get("-X", "POST" if "-d" in after else "GET")
            answer = client.request(method, url, headers=headers, content=after.get("-d"))
            assert answer.is_success, command
            if not task:
                task = answer.json()["id"]
                assert {**answer.json(), "id": "…", "expires_in": 3600.0} == shown


@pytest.mark.parametrize("option", [line.split("`")[1] for line in PAGE.splitlines() if line.startswith("| `--")])
def test_limits_of_the_page(option) -> None:
    name = option.removeprefix("--").replace("-", "_")
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{option}`"))
    assert float(row.split("|")[2].replace(" ", "")) == getattr(Limits(), name)
    assert name in {field for field in Limits.__dataclass_fields__}
    assert Serve().limits == Limits()


def test_the_image_copies_what_there_is() -> None:
    """And what `docker build` may see is that alone."""
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    copied = [word for line in re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile, re.M) for word in line.split()]
    assert copied
    assert all((ROOT / path).exists() for path in copied)
    seen = re.findall(r"^!(.*)", (ROOT / ".dockerignore").read_text("utf-8"), re.M)
    assert sorted(seen) == sorted(copied)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for path in ("Dockerfile", "examples/space/Dockerfile"):
        extras = re.search(r"pip install .*\[([\w,]+)\]", (ROOT / path).read_text("utf-8"))
        assert set(extras[1].split(",")) <= project["optional-dependencies"].keys()
    assert {project["readme"], *project["license-files"]} <= set(copied)


def test_commands_of_the_images() -> None:
    space, image = (
        json.loads(re.findall(r"^CMD (\[.*)", (ROOT / path).read_text("utf-8"), re.M)[-1])
        for path in ("examples/space/Dockerfile", "Dockerfile")
    )
    command = _parse(space[1:])
    assert isinstance(command, Serve)
    assert (command.access.public, command.access.token, command.access.hosts(None)) == (True, None, None)
    command = _parse(image)
    assert isinstance(command, Serve)
    with pytest.raises(mtnets.OptionError, match="set a token"):  # which the one who runs it gives
        _ = command.access.token
    front = (ROOT / "examples/space/README.md").read_text("utf-8").split("---")[1]
    assert f"app_port: {command.access.port}" in front
    assert "sdk: docker" in front
