"""The command line of scripts that measure something in parts."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from mtnets.files import finite, read_json, write_json


def measure(about: str | None, parts: Mapping[str, Callable[[], Any]]) -> None:
    """Measures the parts that the arguments name, and adds each to a report when it is done."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"some of {', '.join(parts)}; all by default")
    parser.add_argument("--report", type=Path, required=True, help="a JSON file; results are added to those in it")
    options = parser.parse_args()
    if unknown := set(options.parts) - parts.keys():
        parser.error(f"there is no part {', '.join(sorted(unknown))}; choose some of {', '.join(parts)}")
    results = read_json(options.report) if options.report.exists() else {}
    for part in options.parts or parts:
        write_json(options.report, results := {**results, "jax": jax.__version__, part: finite(parts[part]())})
        print(part, "done", flush=True)
