"""Whoever may have to wait for a person can be told that person's word."""

from __future__ import annotations

import inspect

import pytest
from temporalio import workflow

from models.delivery.tasks import TaskOutcome, TaskResolved
from runtime.settings import Settings
from workers.registry import build
from workflows.compensation import Compensations

SERVED = [flow for work in build(Settings(), None).values() for flow in work.workflows]
WAITING = [flow for flow in SERVED if "Compensations(" in inspect.getsource(flow)]


def test_there_are_such():
    names = {flow.__name__ for flow in WAITING}
    assert {"Checkout", "CheckoutCleanup", "Order", "RemovePaymentMethod", "SavePaymentMethod"} <= names


@pytest.mark.parametrize("flow", WAITING)
def test_takes_the_word(flow):
    assert "resolve_task" in workflow._Definition.must_from_class(flow).signals


class TestTheWord:
    def test_without_a_task_is_for_what_is_waited_for_now(self):
        undo = Compensations("chk_1")
        undo.resolve(TaskResolved(outcome=TaskOutcome.DONE))
        assert undo._resolution_of("task_1") is None  # typed when nobody waited: it is nobody's
        undo._awaited.append("task_1")
        undo.resolve(TaskResolved(outcome=TaskOutcome.DONE))
        assert undo._resolution_of("task_1") is not None

    def test_that_names_a_task_waits_for_it(self):
        """Told before the process began to wait."""
        undo = Compensations("chk_1")
        undo.resolve(TaskResolved(outcome=TaskOutcome.RETRY, task_id="task_1"))
        assert undo._resolution_of("task_2") is None
        assert undo._resolution_of("task_1").outcome is TaskOutcome.RETRY
