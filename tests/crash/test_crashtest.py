"""`holdfast crashtest`, small: the same program that a release runs with hundreds of checkouts."""

from __future__ import annotations

import pytest

from deploy.proof.crashtest.main import run
from deploy.proof.crashtest.script import VICTIMS, AtTheBank, write


def test_the_same_seed_is_the_same_script() -> None:
    assert write(7, 300, 25) == write(7, 300, 25)
    assert write(7, 300, 25) != write(8, 300, 25)


def test_a_script_has_every_kind_of_buyer_and_victim() -> None:
    script = write(7, 300, 25)
    methods = [visit.method for visit in script.visits]
    assert 0.1 < sum("Decline" in m or "Fail" in m for m in methods) / 300 < 0.3
    assert 0.04 < sum("Secure" in m for m in methods) / 300 < 0.16
    assert {visit.bank for visit in script.visits if "Secure" in visit.method} == set(AtTheBank)
    assert {kill.victim for kill in script.kills} == set(VICTIMS)
    assert sorted(kill.at for kill in script.kills) == [kill.at for kill in script.kills]


@pytest.mark.crash
def test_every_invariant_holds_after_a_small_crash(capsys: pytest.CaptureFixture[str]) -> None:
    status = run(seed=20, checkouts=40, kills=6)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("crashtest ok: seed=20 checkouts=40 kills=6"), "\n".join(lines)
    assert status == 0
