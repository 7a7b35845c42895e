"""Checks of the code that `make check` and `make test` run."""
