"""PostgreSQL: the store, shared by any number of processes.

`database.py` owns the connections; `store.py` hands it changes, `reads.py` questions.
"""
