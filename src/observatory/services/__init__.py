"""The services: each folder reads as the life of its data."""
