"""The processor: claims jobs, runs them, records how they ended; one of them does maintenance.

A job passes through `claim.py`, `run.py`, `finish.py`; `heartbeat.py` keeps the worker alive on
record; `service.py` starts and drains the whole.
"""
