"""Hashing in a process of its own: right, behind everything else, and gone with whoever asked."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from activities.gateways.hashing import NICENESS
from activities.gateways.passwords import Passwords
from models.errors import Unavailable


@pytest.fixture
def passwords():
    passwords = Passwords()
    yield passwords
    passwords.close()


def ask(question):
    return asyncio.run(question)


def pid_of(passwords) -> int:
    return passwords._process.pid


def test_what_was_hashed_matches_and_nothing_else_does(passwords):
    hashed = ask(passwords.hash('naïve 🗝️ "quoted" \n and \x00 all'))

    assert hashed.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert ask(passwords.verify(hashed, 'naïve 🗝️ "quoted" \n and \x00 all'))
    assert not ask(passwords.verify(hashed, 'naïve 🗝️ "quoted" \n and'))
    assert not ask(passwords.verify("no hash at all", "x"))
    assert not ask(passwords.verify(None, "x"))
    assert not passwords.outdated(hashed)


def test_many_at_once_get_their_own_answers(passwords):
    async def all_of_them():
        hashes = await asyncio.gather(*(passwords.hash(f"password {n}") for n in range(10)))
        right = await asyncio.gather(*(passwords.verify(hashes[n], f"password {n}") for n in range(10)))
        wrong = await asyncio.gather(*(passwords.verify(hashes[n], f"password {n + 1}") for n in range(10)))
        return right, wrong

    right, wrong = ask(all_of_them())

    assert all(right)
    assert not any(wrong)


def test_it_gives_way_to_everything_else(passwords):
    ask(passwords.hash("x"))

    assert os.getpriority(os.PRIO_PROCESS, pid_of(passwords)) >= NICENESS


def test_a_process_that_died_is_replaced(passwords):
    hashed = ask(passwords.hash("x"))
    first = pid_of(passwords)
    os.kill(first, signal.SIGKILL)

    assert ask(passwords.verify(hashed, "x"))

    assert pid_of(passwords) != first


def test_what_kills_it_twice_is_unavailable_and_the_next_question_is_answered(passwords):
    with pytest.raises(Unavailable):
        ask(passwords.hash("\ud800"))  # no text: it must never get here

    assert ask(passwords.hash("x"))


def test_it_dies_with_whoever_asked(tmp_path):
    """Killed without a word, as in a crash."""
    program = (
        "import asyncio, os, time\n"
        "from activities.gateways.passwords import Passwords\n"
        "passwords = Passwords()\n"
        "asyncio.run(passwords.hash('x'))\n"
        "print(passwords._process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    asker = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]
    )
    hasher = int(asker.stdout.readline())
    asker.kill()
    asker.communicate()

    deadline = time.monotonic() + 10
    while Path(f"/proc/{hasher}").exists() and "Z" not in Path(f"/proc/{hasher}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_who_comes_when_too_many_wait_is_refused_at_once(passwords: Passwords, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("activities.gateways.passwords.LONGEST_QUEUE", 3)

    async def crowd() -> list[object]:
        return await asyncio.gather(*(passwords.verify(None, "guess") for _ in range(5)), return_exceptions=True)

    answers = asyncio.run(crowd())
    assert answers[:3] == [False] * 3
    assert [type(answer) for answer in answers[3:]] == [Unavailable] * 2
    assert asyncio.run(passwords.verify(None, "guess")) is False
