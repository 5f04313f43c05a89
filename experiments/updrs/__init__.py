"""Parkinson's telemonitoring: a patient is a task.

References:
  Tsanas, Little, McSharry & Ramig, Accurate Telemonitoring of Parkinson's Disease Progression by Noninvasive Speech
  Tests, IEEE Transactions on Biomedical Engineering 57(4), 2010 (online 2009).
"""
