"""The command line, `holdfast`."""
