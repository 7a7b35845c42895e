"""Hashes passwords one at a time and at low priority, so that a burst of sign-ins leaves the CPU to other requests."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from activities.gateways import hashing
from activities.gateways.hashing import HASHER
from models.errors import Unavailable

STOP_SECONDS = 5
LONGEST_QUEUE = 64  # some ten seconds of hashing; who comes later would have given up before its turn


class Passwords:
    """Hashes and verifies in a process of its own with a low priority.

    A thread would not do: preempted between two hashes it would hold the GIL, and every request would wait for it.
    """

    def __init__(self) -> None:
        self._turns = ThreadPoolExecutor(1, thread_name_prefix="passwords")
        self._process: subprocess.Popen[str] | None = None
        self._waiting = 0
        self._dummy = HASHER.hash(os.urandom(16).hex())

    async def hash(self, password: str) -> str:
        return str(await self._request(None, password))

    async def verify(self, hashed: str | None, password: str) -> bool:
        """False for a wrong password; with no hash to compare, False after the same work."""
        matches = await self._request(hashed or self._dummy, password)
        return matches is True and hashed is not None

    def outdated(self, hashed: str) -> bool:
        """Whether the hash has other parameters than today's; the next sign-in hashes again."""
        return HASHER.check_needs_rehash(hashed)

    def close(self) -> None:
        self._turns.shutdown(wait=True, cancel_futures=True)
        self._stop()

    async def _request(self, hashed: str | None, password: str) -> str | bool:
        """Raises Unavailable, at once, when too many wait."""
        if self._waiting >= LONGEST_QUEUE:
            raise Unavailable("Too many passwords wait to be checked; try again in some seconds")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._turns, self._answer, hashed, password)
        finally:
            self._waiting -= 1

    def _answer(self, hashed: str | None, password: str) -> str | bool:
        """Raises Unavailable when the process dies twice during one request."""
        for _ in range(2):
            process = self._running()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(json.dumps([hashed, password]) + "\n")
                process.stdin.flush()
                line = process.stdout.readline()
            except BrokenPipeError:
                line = ""
            if line:
                answer = json.loads(line)
                assert isinstance(answer, str | bool)
                return answer
            self._stop()
        raise Unavailable("Passwords can't be checked for the moment")

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._process = subprocess.Popen(  # noqa: S603  our own
                [sys.executable, "-I", hashing.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        return self._process

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.communicate(timeout=STOP_SECONDS)  # it ends when its input does
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
