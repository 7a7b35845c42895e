"""The clients that routes use, built once by `create_app` and kept on the application."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from activities.gateways.cache import Cache
from activities.gateways.carrier import CarrierGateway
from activities.gateways.identity import IdentityProviders
from activities.gateways.mail import MailGateway
from activities.gateways.passwords import Passwords
from activities.gateways.payments import PaymentGateway
from activities.gateways.secrets import Vault
from api.limits import Limits
from api.processes import Processes
from api.rules import RecentRules
from api.throttle import Attempts
from api.tokens import Tokens
from models.db.session import Database
from runtime.settings import Settings


@dataclass(frozen=True)
class Services:
    settings: Settings
    database: Database
    processes: Processes
    tokens: Tokens
    vault: Vault
    passwords: Passwords
    attempts: Attempts
    limits: Limits
    rules: RecentRules
    cache: Cache
    payments: Mapping[str, PaymentGateway]
    mail: MailGateway
    carrier: CarrierGateway | None
    providers: IdentityProviders


async def services(request: Request) -> Services:
    return cast(Services, request.app.state.services)


Shop = Annotated[Services, Depends(services)]
