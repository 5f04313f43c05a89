"""The code in README and in docs/ runs: Python blocks in small, and command lines as far as their options.

The blocks of a page run in order, in one namespace and in a folder of their own. What a page takes for granted (data,
files) is made by `tests/docs/PAGE.py`, which runs before them. Trainings of more than 200 meta-steps stop after 10. A
block that needs an extra which is not installed is skipped, and so is one that needs a name of a block skipped before.
"""

import contextlib
import dataclasses
import functools
import importlib
import importlib.util
import io
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import experiments.__main__ as experiments
import mtnets
from mtnets import METHODS

CLI, CHOICES = (importlib.import_module(f"mtnets.cli.{name}") for name in ("entry", "choices"))
ROOT = Path(__file__).parents[1]
PAGES = {path.stem: path for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))}
BLOCK = re.compile(r"^( *)```python\n(.*?)^\1```$", re.M | re.S)
EXTRAS = {"torch", "jax2onnx", "onnxruntime", "datasets", "grain", "huggingface_hub"}
KNOWN = set(METHODS)


class Skipped(Exception):
    """The reason why a block cannot run."""


@dataclasses.dataclass
class Page:
    """A page, run up to some block."""

    name: str
    folder: Path
    names: dict[str, Any] = dataclasses.field(default_factory=lambda: {"__name__": "__main__"})
    printed: io.StringIO = dataclasses.field(default_factory=io.StringIO)
    done: int = 0
    skipped: bool = False

    @functools.cached_property
    def blocks(self) -> list[str]:
        """The code of each block, on the lines that it has in the page."""
        text = PAGES[self.name].read_text("utf-8")
        return ["\n" * text.count("\n", 0, match.start(2)) + match[2] for match in BLOCK.finditer(text)]

    def run(self, until: int) -> None:
        """Runs the blocks up to one, that included, which have not run yet.

        Raises:
          Skipped: if the last of them needs what is not there.
        """
        given = ROOT / "tests" / "docs" / f"{self.name}.py"
        if self.done == 0 and given.exists():
            exec(compile(given.read_text("utf-8"), given, "exec"), self.names)
        while self.done <= until:
            self.done += 1
            try:
                with contextlib.redirect_stdout(self.printed):
                    exec(compile(self.blocks[self.done - 1], PAGES[self.name], "exec"), self.names)
            except Exception as error:
                reason = self._reason(error)
                self.skipped = self.skipped or reason is not None
                if self.done > until:
                    raise (error if reason is None else Skipped(reason)) from error

    def _reason(self, error: BaseException) -> str | None:
        """Why a block could not run; None for an error of the block itself."""
        cause: BaseException | None = error
        while cause is not None:
            library = (cause.name or "").partition(".")[0] if isinstance(cause, ImportError) else ""
            if library in EXTRAS and importlib.util.find_spec(library) is None:
                return f"{library} is not installed"
            cause = cause.__cause__ or cause.__context__
        if isinstance(error, NameError) and self.skipped:
            return f"{error.name} is of a block that was skipped"
        return None


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> Iterator[dict[str, Page]]:
    yield {name: Page(name, tmp_path_factory.mktemp(name)) for name in PAGES}
    for name in set(METHODS) - KNOWN:
        del METHODS[name]


@pytest.fixture
def small(monkeypatch) -> None:
    """Short trainings without validation."""
    whole = mtnets.meta_train

    @functools.wraps(whole)
    def meta_train(*args: Any, meta_steps: int | None = None, **options: Any) -> Any:
        steps = 10 if meta_steps is None or meta_steps > 200 else meta_steps
        return whole(*args, meta_steps=steps, **{"validate_every": 0, "progress": False, **options})

    sweep = functools.partial(mtnets.sweep, validation_tasks=2, test_tasks=2, progress=False)
    monkeypatch.setattr(mtnets, "meta_train", meta_train)
    monkeypatch.setattr(mtnets, "sweep", lambda *args, **options: sweep(*args, **{**options, "meta_steps": 10}))


SLOW = {
    ("add-a-method", 2),
    ("data", 0),
    ("data", 1),
    ("data", 2),
    ("data", 3),
    ("from-a-table", 1),
    ("from-a-table", 2),
    ("from-a-table", 3),
    ("how-to", 1),
    ("how-to", 2),
    ("how-to", 3),
    ("how-to", 4),
    ("how-to", 5),
    ("how-to", 6),
    ("how-to", 7),
    ("how-to", 8),
    ("in-python", 0),
    ("in-python", 1),
    ("in-python", 2),
    ("in-python", 3),
    ("in-python", 4),
    ("in-python", 5),
    ("losses", 0),
    ("losses", 1),
    ("losses", 2),
    ("losses", 3),
    ("losses", 4),
    ("losses", 5),
    ("losses", 6),
    ("losses", 7),
    ("losses", 8),
    ("losses", 9),
    ("losses", 10),
    ("losses", 11),
    ("sweeps", 0),
    ("sweeps", 1),
    ("shipping", 0),
    ("shipping", 1),
    ("shipping", 2),
    ("shipping", 3),
    ("shipping", 4),
    ("shipping", 5),
    ("tabular", 0),
    ("tabular", 1),
    ("tabular", 2),
    ("tour", 1),
    ("tour", 2),
    ("tour", 3),
    ("tour", 4),
    ("uncertainty", 0),
    ("uncertainty", 1),
    ("uncertainty", 2),
    ("uncertainty", 3),
    ("uncertainty", 4),
}
BLOCKS = [
    pytest.param(name, i, marks=pytest.mark.slow if (name, i) in SLOW else ())
    for name in PAGES
    for i in range(len(Page(name, ROOT).blocks))
]


@pytest.mark.parametrize(("name", "number"), BLOCKS)
def test_block_runs(name: str, number: int, pages, small, monkeypatch) -> None:
    page = pages[name]
    monkeypatch.chdir(page.folder)
    try:
        page.run(until=number)
    except Skipped as skipped:
        pytest.skip(str(skipped))


@pytest.mark.parametrize("name", PAGES)
def test_no_block_of_python_is_missed(name: str) -> None:
    fences = re.findall(r"^\s*(?:```|~~~)\s*(?:python|py|pycon)", PAGES[name].read_text("utf-8"), re.M | re.I)
    assert len(Page(name, ROOT).blocks) == len(fences)


def test_what_pages_take_for_granted_belongs_to_a_page() -> None:
    assert {path.stem for path in (ROOT / "tests" / "docs").glob("*.py")} <= set(PAGES)


WRITES = re.compile(r"\.(?:save|save_task|export|export_onnx)\(\"([^\"]+)|--(?:out|plot) ([\w./-]+)|out=\"([^\"]+)")


def test_what_pages_write_dirties_no_clone() -> None:
    """Git ignores all that README and docs/ write where they are called, but for what belongs into the repository."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone")
    text = "\n".join(path.read_text("utf-8") for path in PAGES.values())
    written = {"".join(match) for match in WRITES.findall(text)}
    assert {"sine", "learner", "my.json"} <= written
    asked = [path for path in sorted(written) if not path.startswith("results/")]
    ignored = subprocess.run(
        ["git", "check-ignore", *(f"{path}/" if "." not in path else path for path in asked)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    ).stdout.split()  # fmt: skip
    assert sorted(path.rstrip("/") for path in ignored) == asked


TEXT = "\n".join(path.read_text("utf-8") for path in PAGES.values())
COMMANDS = re.findall(r"^    mtnets (.*)", TEXT, re.M)
EXPERIMENTS = sorted({" ".join(words.split()) for words in re.findall(r"python -m experiments ([a-z][^`#\n]*)", TEXT)})


@pytest.mark.parametrize("command", COMMANDS)
def test_command_line_has_these_options(command: str, monkeypatch) -> None:
    class Parsed(Exception):
        pass

    def parsed(*_: Any) -> None:
        raise Parsed

    monkeypatch.setattr(CHOICES, "use_cores", parsed)  # the first call after options are read
    monkeypatch.setattr(CLI, "check_early", lambda *_: None)  # data of these pages are not here
    args = shlex.split(command, comments=True)
    run = CLI._parse(args)
    if args[0] in ("train", "sweep"):
        with pytest.raises(Parsed):
            run()


@pytest.mark.parametrize("command", EXPERIMENTS)
def test_experiment_has_these_options(command: str) -> None:
    experiments._parse(*shlex.split(command))


@pytest.mark.slow
def test_the_page_on_methods_adds_one_and_shows_that_it_is_right(pages, small, monkeypatch) -> None:
    page = pages["add-a-method"]
    monkeypatch.chdir(page.folder)
    page.run(until=len(page.blocks) - 1)
    assert set(METHODS) - KNOWN == {"fading_t_net"}
    assert "loss on 100 tasks" in page.printed.getvalue()
    assert "Finite differences confirm the exact meta-gradient" in page.printed.getvalue()


def test_the_method_of_the_page_has_at_most_20_lines() -> None:
    code = re.search(r"^def fading_rates.*?(?=^```)", PAGES["add-a-method"].read_text("utf-8"), re.M | re.S)
    assert code
    assert len([line for line in code[0].splitlines() if line.strip()]) <= 20
