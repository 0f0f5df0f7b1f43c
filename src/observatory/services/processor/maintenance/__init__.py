"""Maintenance: what one elected processor does for all. One caretaker a file, each one tick."""
