"""Each workflow says what a new build means to it, and a worker with a build id says so to the server."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from temporalio import workflow
from temporalio.common import VersioningBehavior

from models.settings import Settings
from workers.main import deployment
from workers.registry import build

# Which end on the build that began them: they are over in minutes, or a day at most (an undo that fails: three).
SHORT = {
    "Checkout",
    "CheckoutCleanup",
    "EmailVerification",
    "PasswordReset",
    "SavePaymentMethod",
    "RemovePaymentMethod",
}


def behaviours():
    found = [
        workflow._Definition.must_from_class(each) for w in build(Settings(), None).values() for each in w.workflows
    ]
    return {definition.name: definition.versioning_behavior for definition in found}


def test_the_short_are_pinned_and_all_others_move_to_new_builds():
    expected = {
        name: VersioningBehavior.PINNED if name in SHORT else VersioningBehavior.AUTO_UPGRADE for name in behaviours()
    }
    assert behaviours() == expected
    assert set(expected) >= SHORT


def test_without_a_build_id_a_worker_is_not_versioned():
    assert deployment(Settings()) is None


def test_a_build_id_versions_it():
    found = deployment(Settings(worker_build_id="2026-11-22"))
    assert found.version.to_canonical_string() == "holdfast.2026-11-22"
    assert found.use_worker_versioning


@pytest.mark.parametrize("name", ["hold.fast", "hold:fast", "hold fast", ""])
def test_a_name_that_the_server_could_not_keep_apart_is_refused(name):
    with pytest.raises(ValidationError):
        Settings(worker_deployment=name)
