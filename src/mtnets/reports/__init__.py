"""Reports on runs as pages of HTML, and comparisons of runs.

Reading order: elements, charts, page, words; records, examples, drawings, sections; resampling, comparison,
comparison_plot; side_by_side, report.
"""

from mtnets.reports.comparison import Comparison, compare
from mtnets.reports.report import REPORT, report, write_report

__all__ = ["REPORT", "Comparison", "compare", "report", "write_report"]
