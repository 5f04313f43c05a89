"""Tables and figures, from the JSONs of the experiments alone.

Explanations are written by people, in a `notes.md` beside the JSONs of an experiment, and put below its table.
"""

from experiments.report.report import Report

__all__ = ["Report"]
