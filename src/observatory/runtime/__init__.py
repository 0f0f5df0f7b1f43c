"""What a running service is made of: ticking loops, gathered writes, dispatch after commit."""
