"""A circuit breaker around each payment gateway.

It opens after FAILURES authorisations in a row without an answer in time. While it is open, new authorisations are
refused; all other calls go through, because their workflows retry them. Any answer closes it. The error of a refused
authorisation names other providers, for the buyer to choose: a card's token is not valid at another provider.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import TypeVar

import pybreaker

from activities.gateways.payments import PaymentGateway
from models.errors import HoldfastError, OutcomeUnknown, ProviderUnavailable
from models.money import Money
from models.payments.provider import (
    AuthorisationRequest,
    ForeignMovement,
    Movement,
    ProviderEvent,
    ProviderPayment,
    ProviderRefund,
)

FAILURES = 8  # in a row
PAUSE = 5.0  # seconds until one authorisation is let through

T = TypeVar("T")


def guarded(gateways: Mapping[str, PaymentGateway], *, pause: float = PAUSE) -> dict[str, PaymentGateway]:
    """The gateways by name, each with a circuit breaker of this process; `pause` in seconds."""
    found: dict[str, CircuitBreaker] = {}
    for name, gateway in gateways.items():
        found[name] = CircuitBreaker(gateway, found, pause)
    return dict(found)


class CircuitBreaker:
    """A PaymentGateway that knows whether its provider is down, and which of the `others` are not."""

    def __init__(self, gateway: PaymentGateway, others: Mapping[str, CircuitBreaker], pause: float) -> None:
        self._gateway = gateway
        self._others = others
        self._breaker = pybreaker.CircuitBreaker(
            fail_max=FAILURES,
            reset_timeout=pause,
            exclude=[lambda error: not isinstance(error, OutcomeUnknown)],
            throw_new_error_on_trip=False,
        )

    @property
    def name(self) -> str:
        return self._gateway.name

    @property
    def currencies(self) -> frozenset[str]:
        return self._gateway.currencies

    @property
    def down(self) -> bool:
        return bool(self._breaker.current_state == pybreaker.STATE_OPEN)

    def authorise(self, request: AuthorisationRequest) -> ProviderPayment:
        """Raises ProviderUnavailable at once while the circuit is open; `alternatives` names other providers."""
        try:
            # Not `call`: that would hold its lock until the provider answers.
            with self._breaker.calling():
                return self._gateway.authorise(request)
        except (pybreaker.CircuitBreakerError, ProviderUnavailable) as error:
            detail = error.detail if isinstance(error, HoldfastError) else ""
            raise ProviderUnavailable(
                detail, provider=self.name, alternatives=self._alternatives(request.amount)
            ) from error

    def _alternatives(self, amount: Money) -> list[str]:
        return sorted(
            name
            for name, other in self._others.items()
            if other is not self and not other.down and amount.currency in other.currencies
        )

    def _call(self, call: Callable[[], T]) -> T:
        """Any answer closes the circuit, an error included; a call without an answer doesn't open it here."""
        try:
            answer = call()
        except HoldfastError as error:
            if not isinstance(error, OutcomeUnknown | ProviderUnavailable):
                self._close()
            raise
        self._close()
        return answer

    def _close(self) -> None:
        if self._breaker.current_state != pybreaker.STATE_CLOSED or self._breaker.fail_counter:
            self._breaker.close()

    def retrieve(self, reference: str) -> ProviderPayment:
        return self._call(lambda: self._gateway.retrieve(reference))

    def complete(self, reference: str, key: str) -> ProviderPayment:
        return self._call(lambda: self._gateway.complete(reference, key))

    def search(self, metadata: dict[str, str], not_before: datetime) -> ProviderPayment:
        return self._call(lambda: self._gateway.search(metadata, not_before))

    def capture(self, reference: str, amount: int, *, final: bool, key: str) -> ProviderPayment:
        return self._call(lambda: self._gateway.capture(reference, amount, final=final, key=key))

    def cancel(self, reference: str) -> ProviderPayment:
        return self._call(lambda: self._gateway.cancel(reference))

    def refund_rest(self, reference: str) -> None:
        self._call(lambda: self._gateway.refund_rest(reference))

    def refund(self, reference: str, amount: Money, metadata: dict[str, str], key: str) -> ProviderRefund:
        return self._call(lambda: self._gateway.refund(reference, amount, metadata, key))

    def retrieve_refund(self, reference: str) -> ProviderRefund:
        return self._call(lambda: self._gateway.retrieve_refund(reference))

    def search_refund(self, reference: str, metadata: dict[str, str]) -> ProviderRefund:
        return self._call(lambda: self._gateway.search_refund(reference, metadata))

    def event(self, body: bytes, headers: Mapping[str, str]) -> ProviderEvent:
        return self._gateway.event(body, headers)

    def list_movements(self, since: datetime) -> Iterator[Movement | ForeignMovement]:
        return self._gateway.list_movements(since)
