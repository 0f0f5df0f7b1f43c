"""The metrics engine: follows the event log and keeps the aggregates exactly."""
