"""What a learner, a method or a network is like, for people.

Reading order: derivatives, measure, interpret, draw, doctor; summary; catalogue.
"""

from mtnets.analysis.catalogue import Entry, catalogue
from mtnets.analysis.doctor import Diagnosis, diagnose
from mtnets.analysis.interpret import Finding
from mtnets.analysis.summary import Row, Summary, summarise

__all__ = ["Diagnosis", "Entry", "Finding", "Row", "Summary", "catalogue", "diagnose", "summarise"]
