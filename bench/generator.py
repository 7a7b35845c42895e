"""The process of the load generator."""

import uvloop

from bench.helper import serve
from bench.load import load, steps
from bench.logins import logins

if __name__ == "__main__":
    uvloop.run(serve({"load": load, "steps": steps, "logins": logins}))
