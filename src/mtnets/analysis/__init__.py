"""What a learner, a method or a network is like, for people.

Reading order: derivatives, measure, interpret, figures, draw, doctor; summary; catalogue; losses.
"""

from mtnets.analysis.catalogue import Entry, catalogue
from mtnets.analysis.doctor import Diagnosis, diagnose
from mtnets.analysis.interpret import Finding
from mtnets.analysis.losses import LossEntry, MetricEntry, losses_and_metrics
from mtnets.analysis.summary import Row, Summary, summarise

__all__ = [
    "Diagnosis",
    "Entry",
    "Finding",
    "LossEntry",
    "MetricEntry",
    "Row",
    "Summary",
    "catalogue",
    "diagnose",
    "losses_and_metrics",
    "summarise",
]
