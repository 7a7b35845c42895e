"""`python -m bench`: see `--help`."""

from bench.main import main

main()
