"""The read model: every view, each with its age; it never writes.

`app.py` is the HTTP interface; `jobs.py`, `failures.py`, `stats.py`, `live.py` and `catalogue.py`
hold one kind of view each.
"""
