"""Activities as a worker calls them: on a database that no worker serves, and a sandbox of this session's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from models.db.session import Database
from runtime.settings import Settings
from tests.activities.gateways.conftest import OnPayPal, OnStripe
from tests.fixtures.catalogue import demo_database
from tests.fixtures.steps import Steps
from tests.sandbox.conftest import Sandbox, _http, _server, _shop, sandbox

__all__ = ["_http", "_server", "_shop", "sandbox"]  # fixtures that this folder uses too


@pytest.fixture(scope="session")
def database(postgres: Settings) -> Iterator[Database]:
    with demo_database(postgres) as database:
        yield database


@pytest.fixture
def steps(database: Database, sandbox: Sandbox) -> Iterator[Steps]:
    stripe, paypal = OnStripe(sandbox), OnPayPal(sandbox)
    yield Steps(database, {"stripe": stripe.gateway, "paypal": paypal.gateway})
    paypal.close()
