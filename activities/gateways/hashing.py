"""argon2id (RFC 9106), and a process that only hashes: one JSON line per request, one per response.

As a script it imports nothing of ours. It ends with its input, so it doesn't outlive its parent.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

# OWASP's Password Storage Cheat Sheet: m = 19 MiB, t = 2, p = 1 is the least.
HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)

NICENESS = 10


def matches(hashed: str, password: str) -> bool:
    try:
        return HASHER.verify(hashed, password)
    except (VerificationError, InvalidHashError):
        return False


def main() -> None:
    os.nice(NICENESS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    for line in sys.stdin:
        hashed, password = json.loads(line)
        answer = HASHER.hash(password) if hashed is None else matches(hashed, password)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
