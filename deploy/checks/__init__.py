"""What `make check` and `make test` hold the code to."""
