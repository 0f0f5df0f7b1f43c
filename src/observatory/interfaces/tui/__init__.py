"""The terminal view: what the page shows, by keys, over the same HTTP interface."""
