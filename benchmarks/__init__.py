"""Measurements of the system against the floor of the machine it runs on; see README.md."""
