"""Which keys one try uses, and that the next one goes on behind them."""

import dataclasses

import pytest
from temporalio import activity
from temporalio.testing import ActivityEnvironment

from activities.gateways import idempotency_keys


@activity.defn
def use(spoilt: int) -> list[str]:
    """All keys that were asked for, if that many of them are spoilt."""
    used = []
    for key in idempotency_keys.key_sequence("shp_1:capture"):
        used.append(key)
        if len(used) > spoilt:
            break
    return used


@pytest.fixture
def attempt():
    """A try with what the one before has told; its keys, and what it has told itself."""

    def run(spoilt, told=(), **more):
        environment, beats = ActivityEnvironment(), []
        environment.on_heartbeat = lambda *details: beats.append(details)
        environment.info = dataclasses.replace(environment.info, heartbeat_details=list(told), **more)
        return environment.run(use, spoilt), beats

    return run


def test_the_first_key_is_enough_while_all_is_well(attempt):
    assert attempt(0) == (["shp_1:capture"], [])


def test_a_spoilt_key_is_told_and_the_next_one_used(attempt):
    assert attempt(2) == (["shp_1:capture", "shp_1:capture:2", "shp_1:capture:3"], [(2,), (3,)])


def test_a_try_has_five_and_the_next_one_goes_on_behind_them(attempt):
    used, beats = attempt(99)
    assert (len(used), beats[-1]) == (idempotency_keys.KEYS_PER_ATTEMPT, (6,))
    assert attempt(0, told=beats[-1]) == (["shp_1:capture:6"], [])


def test_one_that_died_untold_walks_the_same_row_again(attempt):
    assert attempt(99)[0] == attempt(99)[0]


def test_the_server_keeps_nothing_of_a_local_activity(attempt):
    assert attempt(99, is_local=True)[1] == []
