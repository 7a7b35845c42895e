"""A provider that has stopped answering costs a few buyers some seconds, and then nobody: a circuit breaker.

Only new payments are held back, and only after several calls in a row that nobody answered in time; whatever moves
money that is there already is tried on by its own process. Any answer closes the circuit again. A refused payment names
the providers that can take it instead, for the buyer to choose: a card's token means nothing to another provider.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import TypeVar

import pybreaker

from activities.gateways.payments import PaymentGateway
from models.errors import HoldfastError, OutcomeUnknown, ProviderUnavailable
from models.money import Money
from models.payments.provider import AuthorisationRequest, Movement, ProviderEvent, ProviderPayment, ProviderRefund

FAILURES = 8  # in a row
PAUSE = 5.0  # seconds until one buyer may try again

T = TypeVar("T")


def guarded(gateways: Mapping[str, PaymentGateway], *, pause: float = PAUSE) -> dict[str, PaymentGateway]:
    """The same gateways by name, each with a breaker of this process; `pause` in seconds."""
    found: dict[str, CircuitBreaker] = {}
    for name, gateway in gateways.items():
        found[name] = CircuitBreaker(gateway, found, pause)
    return dict(found)


class CircuitBreaker:
    """A PaymentGateway that knows when its provider is down, and which of the `others` are not."""

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
        """Raises ProviderUnavailable at once while the provider is down; its `alternatives` are names of others."""
        try:
            # Not `call`: that would keep its lock for as long as the provider takes.
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
        """An answer says that the provider lives, whatever it says; silence is for the caller to wait out."""
        try:
            answer = call()
        except HoldfastError as error:
            if not isinstance(error, OutcomeUnknown | ProviderUnavailable):
                self._alive()
            raise
        self._alive()
        return answer

    def _alive(self) -> None:
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

    def list_movements(self, since: datetime) -> Iterator[Movement]:
        return self._gateway.list_movements(since)
