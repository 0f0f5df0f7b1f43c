"""The gateway: validates, records, answers 202, dispatches.

`submission.py` turns a body into a submission, `accept.py` records it, `actions.py` cancels and
retries, `app.py` is the HTTP interface.
"""
