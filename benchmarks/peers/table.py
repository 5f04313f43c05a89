"""Results as a page of tables."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.peers.cells import CELLS
from benchmarks.peers.contender import BASELINE, CONTENDERS
from benchmarks.peers.problem import Work
from benchmarks.peers.work import share

HEAD = (
    "contender",
    f"speed of {BASELINE} ÷ this",
    "meta-steps/s",
    "tasks/s",
    "of the cores' limit",
    "memory",
    "to compile",
    "from a cold start",
)
MIB = 1 << 20


def page(results: dict[str, Any]) -> str:
    """A table in Markdown for each cell, with what it was measured with."""
    order = list(CELLS)
    cells = sorted(results["cells"], key=lambda cell: (order.index(cell["work"]["cell"]), str(cell["work"])))
    return "\n\n".join(_table(cell) for cell in cells)


def _table(cell: dict[str, Any]) -> str:
    work = Work(**cell["work"])
    rounds, seconds = cell["settings"]["rounds"], cell["settings"]["seconds"]
    method = "MAML" if work.method == "maml" else "MT-net"
    title = f"### {CELLS[work.cell].about}: {method}, {'exact' if work.order == 'exact' else 'first order'}"
    if work.tiny:
        title += " (tiny: no measure of anything)"
    rows = [_row(name, cell, work) for name in CONTENDERS if name in cell["contenders"]]
    lines = [f"| {' | '.join(row)} |" for row in (HEAD, ("---",) * len(HEAD), *rows)]
    machine, versions = cell["machine"], ", ".join(f"{name} {value}" for name, value in cell["versions"].items())
    rates = [rate for rate in cell["matrix_rates"] if rate]
    limit = f"matrix products {statistics.median(rates) / 1e9:.0f} GFLOP/s; " if rates else ""
    load = "" if cell["load"] is None else f"load before {cell['load']:.1f}; "
    about = (
        f"{machine['processor']}, {machine['cores']} cores, {machine['system']}, Python {machine['python']}; {limit}"
        f"{load}{rounds} rounds of {seconds:g} s, seed {cell['settings']['seed']}, {cell['date']}; {versions}."
    )
    return "\n".join([title, "", *lines, "", about])


def _row(name: str, cell: dict[str, Any], work: Work) -> tuple[str, ...]:
    entry = cell["contenders"][name]
    if "why" in entry:
        return (name, entry["why"], *("–",) * (len(HEAD) - 2))
    rates = _column(entry, "meta_steps_per_second")
    baseline = _column(cell["contenders"][BASELINE], "meta_steps_per_second")
    ratio = "1" if name == BASELINE else _spread([ours / theirs for ours, theirs in zip(baseline, rates, strict=True)])
    limits = [limit for limit in cell["matrix_rates"] if limit]
    part = share(work, statistics.median(rates), statistics.median(limits)) if limits else math.nan
    return (
        name,
        ratio,
        _spread(rates),
        _number(statistics.median(rates) * work.sizes.tasks),
        "–" if math.isnan(part) else f"{100 * part:.1f} %",
        f"{statistics.median(_column(entry, 'peak_bytes')) / MIB:.0f} MiB",
        f"{_spread(_column(entry, 'compile_seconds'))} s",
        f"{_spread(_column(entry, 'cold_seconds'))} s",
    )


def _column(entry: dict[str, Any], name: str) -> list[float]:
    return [each[name] for each in entry["rounds"]]


def _spread(values: Sequence[float]) -> str:
    """`median (smallest – largest)`."""
    return f"{_number(statistics.median(values))} ({_number(min(values))} – {_number(max(values))})"


def _number(value: float) -> str:
    """With three digits."""
    digits = 0 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}"
