"""`python -m experiments report`: writes every page that shows results."""

import dataclasses
from pathlib import Path

from experiments.report import battery, intervals, methods_on_images, methods_on_sine, paper, tabular
from experiments.resumable import command
from mtnets import RunError
from mtnets.files import replacing


@dataclasses.dataclass(frozen=True)
class Report:
    """Draws the tables and figures of all experiments that there are results of.

    Attributes:
      results: folder of the results.
      out: folder for results.md, methods-on-sine.md and their figures, for methods-on-images.md, and of tabular.md,
        uncertainty.md and battery.md, whose tables are replaced.
    """

    results: str = "results"
    out: str = "docs"

    def __call__(self) -> None:
        """Runs the command."""
        results, out = Path(self.results), Path(self.out)
        pages = {
            "results.md": paper.page(results / "reproduce", out / "figures"),
            "methods-on-sine.md": methods_on_sine.page(results / "methods-on-sine", out / "figures"),
            "methods-on-images.md": methods_on_images.page(results / "methods-on-images"),
            "tabular.md": tabular.page(results / "tabular", out / "tabular.md"),
            "battery.md": battery.page(results / "battery", out / "battery.md", out / "figures"),
            "uncertainty.md": intervals.page(results / "intervals", out / "uncertainty.md"),
        }
        if not any(pages.values()):
            raise RunError(f"There are no results in {results}; run an experiment first: {command('sine')}.")
        for name, page in pages.items():
            if page:
                with replacing(out / name) as file:
                    file.write(page.encode())
                print(f"Written: {out / name}")
