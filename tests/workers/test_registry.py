"""Which worker runs what."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections import Counter

import pytest
from temporalio import activity

import activities
from runtime.settings import Settings
from workers.registry import activities_of, build, is_activity
from workflows import queues


def activity_classes():
    """Every class in `activities/` that has an activity."""
    for found in pkgutil.walk_packages(activities.__path__, "activities."):
        module = importlib.import_module(found.name)
        for _, each in inspect.getmembers(module, inspect.isclass):
            if each.__module__ == module.__name__ and any(map(is_activity, vars(each).values())):
                yield each


@pytest.fixture(scope="module")
def registered():
    """The class of each activity that a queue's worker runs."""
    return {
        queue: [each.__self__.__class__ for each in work.activities] for queue, work in build(Settings(), None).items()
    }


@pytest.mark.parametrize("each", list(activity_classes()), ids=lambda each: each.__name__)
def test_every_activity_class_is_on_one_queue_and_tasks_are_on_all(registered, each):
    found = {queue for queue, classes in registered.items() if each in classes}
    assert found == set(queues.ALL) if each.__name__ == "Tasks" else len(found) == 1


def test_no_name_means_two_activities():
    for work in build(Settings(), None).values():
        assert not [name for name, count in Counter(each.__name__ for each in work.activities).items() if count > 1]


def test_only_the_methods_that_are_activities_are_collected():
    class Capability:
        @activity.defn
        def act(self) -> None: ...

        def help(self) -> None: ...

        @property
        def unready(self) -> None:
            raise AssertionError("read")

    capability = Capability()
    assert activities_of(capability) == [capability.act]
