"""Technologies behind the protocols of the core. Only `assembly` imports them."""
