"""The rules of the system: no input or output, no clock, no event loop."""
