"""What `holdfast deploy` says where it can't do what it is asked; tests/crash/test_rolling_upgrade.py has the rest."""

from __future__ import annotations

import pytest

from deploy.cli import builds
from deploy.cli.builds import Build, Builds, ask, format_table
from deploy.errors import StackError
from deploy.stack.ports import free_ports
from runtime.settings import Settings


@pytest.fixture
def nobody(temporal: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of a deployment that no worker has ever served."""
    monkeypatch.setattr(builds, "PATIENCE_SECONDS", 0.1)
    return temporal.model_copy(update={"worker_deployment": "nobody"})


def test_a_build_without_workers_gets_nothing(nobody: Settings) -> None:
    with pytest.raises(StackError, match=r"Temporal says: no Worker Deployment found with name .?nobody"):
        ask(nobody, lambda found: found.make_current("v1"))
    with pytest.raises(StackError, match="nobody"):
        ask(nobody, lambda found: found.ramp("v1", 5))


def test_a_deployment_without_workers_has_no_status(nobody: Settings) -> None:
    with pytest.raises(StackError, match="Temporal says"):
        ask(nobody, Builds.status)


def test_a_server_that_is_not_there_is_named() -> None:
    (port,) = free_ports(1)
    with pytest.raises(StackError, match=f"Temporal does not answer at 127.0.0.1:{port}"):
        ask(Settings(temporal_port=port), Builds.status)


def test_the_table_says_what_each_build_does() -> None:
    shown = format_table([Build("v2", "ramping 5 %", 3), Build("v1", "current", 120)])
    assert [line.split() for line in shown.splitlines()] == [
        ["build", "status", "pinned"],
        ["v2", "ramping", "5", "%", "3"],
        ["v1", "current", "120"],
    ]
