"""Faults put on purpose: kills, full disks, errors of input and output, foreign files. `make faults` runs all of it."""
