"""How long reads take when there is much to read."""
