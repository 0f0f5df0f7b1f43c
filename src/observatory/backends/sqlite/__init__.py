"""SQLite: spine, store and aggregates in one file, for one process.

`database.py` owns the only connection that writes; the three backends hand it their work.
"""
