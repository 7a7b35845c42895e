"""Saved cards at Stripe, through its own SDK: Customers, SetupIntents and PaymentMethods.

A set-up is created and confirmed in one call, for off-session use. Sources: Stripe's API reference and its guide "Save
a customer's payment method without making a payment". Certain and unknown outcomes are distinguished as in payments.py.
Stripe has no search for SetupIntents; the list of one customer's is short, and consistent.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import stripe

from activities.gateways.stripe.client import client_of, decline_code, domain_error, message_of, options
from activities.gateways.stripe.payments import CLOCK_MARGIN
from models.errors import HoldfastError
from models.payments.methods import Card, ProviderSetup, ProviderSetupStatus

_STATES = {
    "succeeded": ProviderSetupStatus.SUCCEEDED,
    "requires_action": ProviderSetupStatus.REQUIRES_ACTION,
    "requires_confirmation": ProviderSetupStatus.REQUIRES_ACTION,
    "processing": ProviderSetupStatus.PROCESSING,
    "requires_payment_method": ProviderSetupStatus.DECLINED,
    "canceled": ProviderSetupStatus.CANCELLED,
}
_CARD = ["payment_method"]  # what to expand


class StripeCards:
    """Thread-safe; answers within `timeout` seconds or raises OutcomeUnknown."""

    name = "stripe"

    def __init__(self, api_key: str, *, base: str = "", timeout: float = 2.5) -> None:
        self._client = client_of(api_key, base, timeout)

    def create_customer(self, user_id: str, key: str) -> str:
        """Creates a customer with our user id as its only data; returns Stripe's id. Raises as `set_up` does."""
        try:
            return str(self._client.v1.customers.create({"metadata": {"user_id": user_id}}, options(key)).id)
        except stripe.StripeError as error:
            raise _domain_error(error) from error

    def search_customer(self, user_id: str, not_before: datetime) -> str | None:
        """The id of the customer that was created since then; None only if the list, which is consistent, has none."""
        since = int((not_before - CLOCK_MARGIN).timestamp())
        try:
            listed = self._client.v1.customers.list({"created": {"gte": since}, "limit": 100}, options())
            for customer in listed.auto_paging_iter():
                if _metadata(customer).get("user_id") == user_id:
                    return str(customer.id)
        except stripe.StripeError as error:
            raise _domain_error(error) from error
        return None

    def set_up(self, customer: str, method: str, metadata: dict[str, str], key: str) -> ProviderSetup:
        """Create and confirm in one call. A decline is a result, not an error.

        Raises PaymentMethodInvalid, ProviderUnavailable (nothing happened) or OutcomeUnknown.
        """
        try:
            intent = self._client.v1.setup_intents.create(
                {
                    "customer": customer,
                    "payment_method": method,
                    # Cards that need no redirect; 3-D Secure goes through Stripe's script in the browser.
                    "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
                    "usage": "off_session",
                    "confirm": True,
                    "metadata": metadata,
                    "expand": _CARD,
                },
                options(key),
            )
        except stripe.CardError as error:
            refused = error.error.setup_intent if error.error else None
            return ProviderSetup(
                state=ProviderSetupStatus.DECLINED,
                reference=refused.id if refused else None,
                decline_code=decline_code(error),
            )
        except stripe.InvalidRequestError as error:
            if error.param == "customer":
                return ProviderSetup(state=ProviderSetupStatus.NO_CUSTOMER)
            raise _domain_error(error) from error
        except stripe.StripeError as error:
            raise _domain_error(error) from error
        return _setup(intent)

    def retrieve(self, reference: str) -> ProviderSetup:
        """The set-up by Stripe's id. Raises ProviderUnavailable or OutcomeUnknown."""
        try:
            return _setup(self._client.v1.setup_intents.retrieve(reference, {"expand": _CARD}, options()))
        except stripe.StripeError as error:
            raise _domain_error(error) from error

    def retrieve_for_payment(self, reference: str) -> ProviderSetup:
        """The method that a payment has saved, or ABSENT. Raises ProviderUnavailable or OutcomeUnknown."""
        try:
            intent = self._client.v1.payment_intents.retrieve(reference, {"expand": _CARD}, options())
        except stripe.StripeError as error:
            raise _domain_error(error) from error
        method: Any = intent.payment_method
        if method is None or method.customer is None:
            return ProviderSetup(state=ProviderSetupStatus.ABSENT)
        return ProviderSetup(
            state=ProviderSetupStatus.SUCCEEDED,
            reference=intent.id,
            method=method.id,
            card=_card(method.card),
            fingerprint=method.card.fingerprint,
        )

    def search(self, customer: str, metadata: dict[str, str]) -> ProviderSetup:
        """The customer's set-up with our metadata, or ABSENT. Raises ProviderUnavailable or OutcomeUnknown."""
        try:
            listed = self._client.v1.setup_intents.list(
                {"customer": customer, "limit": 100, "expand": [f"data.{name}" for name in _CARD]}, options()
            )
            for intent in listed.auto_paging_iter():
                held = _metadata(intent)
                if all(held.get(name) == value for name, value in metadata.items()):
                    return _setup(intent)
        except stripe.InvalidRequestError as error:
            if error.param != "customer":
                raise _domain_error(error) from error
        except stripe.StripeError as error:
            raise _domain_error(error) from error
        return ProviderSetup(state=ProviderSetupStatus.ABSENT)

    def cancel(self, reference: str) -> ProviderSetup:
        """Cancels the set-up. Returns it as it is if it can't be cancelled (succeeded, or cancelled before)."""
        try:
            return _setup(self._client.v1.setup_intents.cancel(reference, {}, options()))
        except stripe.InvalidRequestError as error:
            if error.code == "setup_intent_unexpected_state":
                return self.retrieve(reference)
            raise _domain_error(error) from error
        except stripe.StripeError as error:
            raise _domain_error(error) from error

    def detach(self, method: str) -> None:
        """Detaches the card, which can't be charged any more. Idempotent, so it needs no idempotency key."""
        try:
            self._client.v1.payment_methods.detach(method, {}, options())
        except stripe.InvalidRequestError as error:
            if error.code != "resource_missing" and self._attached(method):
                raise _domain_error(error) from error
        except stripe.StripeError as error:
            raise _domain_error(error) from error

    def _attached(self, method: str) -> bool:
        try:
            return self._client.v1.payment_methods.retrieve(method, {}, options()).customer is not None
        except stripe.StripeError as error:
            raise _domain_error(error) from error


def _domain_error(error: stripe.StripeError) -> HoldfastError:
    return domain_error(error, "/method")


def _metadata(held: Any) -> dict[str, str]:
    return held.metadata.to_dict() if held.metadata else {}


def _setup(intent: stripe.SetupIntent) -> ProviderSetup:
    state = _STATES.get(intent.status, ProviderSetupStatus.PROCESSING)
    declined = intent.last_setup_error if state is ProviderSetupStatus.DECLINED else None
    method: Any = intent.payment_method
    card = getattr(method, "card", None)
    return ProviderSetup(
        state=state,
        reference=intent.id,
        method=getattr(method, "id", method),
        card=_card(card) if card else None,
        fingerprint=getattr(card, "fingerprint", None),
        next_action=_next_action(intent) if state is ProviderSetupStatus.REQUIRES_ACTION else None,
        decline_code=message_of(declined) if declined else None,
    )


def _card(card: Any) -> Card:
    return Card(brand=card.brand, last4=card.last4, exp_month=card.exp_month, exp_year=card.exp_year)


def _next_action(intent: stripe.SetupIntent) -> dict[str, Any]:
    action = intent.next_action
    return {"type": action.type if action else "use_stripe_sdk", "client_secret": intent.client_secret}
