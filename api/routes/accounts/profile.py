"""The user's own data: name, addresses, notification preferences."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from pydantic import Field, ValidationError

from api import paging, versions
from api.addresses import AddressIn, Country, checked_address
from api.auth import Person
from api.fields import Id
from api.paging import Cursor, Limit
from api.problems import validated
from api.schemas.base import Body, Line
from api.schemas.profiles import AddressOut, AddressPage, PreferencesOut, ProfileOut
from api.schemas.responses import Problem
from api.services import Shop
from api.versions import IfMatch
from models.accounts import preferences
from models.db.repositories.accounts import profiles as repository
from models.db.repositories.delivery import audit

router = APIRouter(
    prefix="/v1/me",
    tags=["profile"],
    responses={status: {"model": Problem} for status in (401, 403, 404, 422)},
)


class ProfileChange(Body):
    name: Line


class AddressChange(Body):
    """Fields that are not named stay; null removes an optional one."""

    name: Line | None = None
    company: Line | None = None
    line1: Line | None = None
    line2: Line | None = None
    city: Line | None = None
    region: Line | None = None
    postal_code: Line | None = None
    country: Country | None = Field(None, examples=["US"])
    phone: Line | None = None


class TopicChoices(Body):
    """Topics that are not named stay."""

    orders: bool = Field(default_factory=bool)
    payments: bool = Field(default_factory=bool)
    marketing: bool = Field(default_factory=bool)
    security: bool = Field(default_factory=bool, description="can't be turned off")


class PreferencesChange(Body):
    """Channels that are not named stay."""

    email: TopicChoices = Field(default_factory=TopicChoices)
    sms: TopicChoices = Field(default_factory=TopicChoices)
    push: TopicChoices = Field(default_factory=TopicChoices)
    realtime: TopicChoices = Field(default_factory=TopicChoices)


@router.get("", response_model=ProfileOut)
def read_profile(shop: Shop, caller: Person) -> JSONResponse:
    """The signed-in user."""
    with shop.database.autocommit() as connection:
        return _profile(repository.read_profile(connection, caller.user_id))


@router.patch("", response_model=ProfileOut, responses={412: {"model": Problem}})
def change_profile(shop: Shop, caller: Person, body: ProfileChange, if_match: IfMatch = None) -> JSONResponse:
    with shop.database.autocommit() as connection:
        while True:
            seen = repository.read_profile(connection, caller.user_id)["version"]
            versions.check(if_match, seen)
            changed = repository.rename(connection, caller.user_id, body.name, seen=seen)
            if changed is not None:
                return _profile(changed)


@router.get("/addresses", response_model=AddressPage)
def list_addresses(shop: Shop, caller: Person, limit: Limit = 20, cursor: Cursor = None) -> JSONResponse:
    """The address book, oldest first."""
    after = paging.decode(cursor, str)[0] if cursor is not None else ""
    with shop.database.autocommit() as connection:
        found = repository.list_addresses(connection, caller.user_id, after=after, limit=limit + 1)
    next_cursor = paging.encode(found[limit - 1]["id"]) if len(found) > limit else None
    return JSONResponse(paging.page(found[:limit], next_cursor))


@router.post("/addresses", status_code=201, response_model=AddressOut, responses={409: {"model": Problem}})
def add_address(shop: Shop, caller: Person, body: AddressIn) -> JSONResponse:
    """Validated by its country's rules. At most 50."""
    address = checked_address(body)
    with shop.database.transaction() as connection:
        added = repository.add_address(connection, caller.user_id, address)
    return JSONResponse(added, status_code=201)


@router.patch("/addresses/{address_id}", response_model=AddressOut)
def change_address(shop: Shop, caller: Person, address_id: Id, body: AddressChange) -> JSONResponse:
    """Validates the whole address with the change applied."""
    changes = body.model_dump(exclude_unset=True)
    with shop.database.transaction() as connection:
        stored = repository.lock_address(connection, caller.user_id, address_id)
        try:
            wanted = AddressIn.model_validate(stored.model_dump() | changes)
        except ValidationError as error:
            raise validated(error) from error
        changed = repository.change_address(connection, caller.user_id, address_id, checked_address(wanted))
    return JSONResponse(changed)


@router.delete("/addresses/{address_id}", status_code=204)
def remove_address(shop: Shop, caller: Person, address_id: Id) -> Response:
    """Orders keep the addresses that they were placed with."""
    with shop.database.autocommit() as connection:
        repository.remove_address(connection, caller.user_id, address_id)
    return Response(status_code=204)


@router.get("/notification-preferences", response_model=PreferencesOut)
def read_preferences(shop: Shop, caller: Person) -> JSONResponse:
    """By channel and topic, whether notifications are sent."""
    with shop.database.autocommit() as connection:
        return JSONResponse(preferences.view(repository.read_preferences(connection, caller.user_id)))


@router.patch("/notification-preferences", response_model=PreferencesOut)
def change_preferences(shop: Shop, caller: Person, body: PreferencesChange) -> JSONResponse:
    """Merged with the stored preferences; each change of consent is in the audit log."""
    changes: dict[str, Any] = body.model_dump(exclude_unset=True)
    with shop.database.transaction() as connection:
        before = repository.read_preferences(connection, caller.user_id, lock=True)
        after = preferences.merged(before, changes)
        repository.store_preferences(connection, caller.user_id, after)
        if changed := preferences.differences(before, after):
            audit.append(connection, caller, "preferences.changed", caller.user_id, **changed)
    return JSONResponse(preferences.view(after))


def _profile(shown: dict[str, Any]) -> JSONResponse:
    return JSONResponse(shown, headers=versions.etag(shown["version"]))
