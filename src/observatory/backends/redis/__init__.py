"""Redis: the aggregates, shared by any number of processes.

`aggregates.py` is what the services use; `scripts.py` is what runs inside Redis, each script as one
atomic step.
"""
