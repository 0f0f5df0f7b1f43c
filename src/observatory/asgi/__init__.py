"""What both HTTP interfaces share, as plain ASGI: errors, keys, limits, parameters, health."""
