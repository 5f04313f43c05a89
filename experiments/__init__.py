"""What produced the numbers in `results/`: `python -m experiments` lists the experiments.

Each experiment is a dataclass: its fields are the options of its command, and calling it runs it. Results are written
in parts, one JSON each (`resumable`). `python -m experiments report` draws every table and figure from those files.
"""
