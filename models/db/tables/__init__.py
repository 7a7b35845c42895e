"""Table definitions, one file an area."""
