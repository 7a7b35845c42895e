"""Each workflow says what a new build means to it, and a worker with a build id says so to the server."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from temporalio import workflow
from temporalio.common import VersioningBehavior

from runtime.settings import Settings
from workers.main import deployment
from workers.registry import build
from workflows import queues


def test_the_short_are_pinned_and_all_others_move_to_new_builds():
    work = build(Settings(), None)
    assert {name: each.builds for name, each in work.items()} == {
        queues.CHECKOUT: VersioningBehavior.PINNED,  # over in minutes, or a day at most (an undo that fails: three)
        queues.ORDERS: VersioningBehavior.AUTO_UPGRADE,
        queues.NOTIFICATIONS: VersioningBehavior.AUTO_UPGRADE,
    }


def test_no_workflow_declares_its_own():
    """The server refuses every step of it from a worker without a build id."""
    for each in (found for work in build(Settings(), None).values() for found in work.workflows):
        assert not workflow._Definition.must_from_class(each).versioning_behavior


def test_without_a_build_id_a_worker_is_not_versioned():
    assert deployment(Settings(), VersioningBehavior.PINNED) is None


def test_a_build_id_versions_it():
    found = deployment(Settings(worker_build_id="2026-11-22"), VersioningBehavior.PINNED)
    assert found.version.to_canonical_string() == "holdfast.2026-11-22"
    assert found.use_worker_versioning
    assert found.default_versioning_behavior is VersioningBehavior.PINNED


@pytest.mark.parametrize("name", ["hold.fast", "hold:fast", "hold fast", ""])
def test_a_name_that_the_server_could_not_keep_apart_is_refused(name):
    with pytest.raises(ValidationError):
        Settings(worker_deployment=name)
