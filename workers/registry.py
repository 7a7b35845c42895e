"""The workflows and activities of each queue's worker; the activity classes are built once, with their clients."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from temporalio import activity
from temporalio.common import VersioningBehavior

from activities.accounts.notifications import Accounts
from activities.checkout.checkouts import Checkouts
from activities.delivery.mail_once import MailOnce
from activities.delivery.tasks import Tasks
from activities.gateways.carrier import CarrierGateway
from activities.gateways.mail import MailGateway
from activities.gateways.providers import payment_gateways
from activities.gateways.secrets import Vault
from activities.gateways.sms import SmsGateway
from activities.gateways.stripe.cards import StripeCards
from activities.orders.commands import OrderCommands
from activities.orders.fulfilment import Fulfilment
from activities.orders.notifications import Notifications
from activities.orders.parcels import Parcels
from activities.orders.returns import Returns
from activities.payments.methods import PaymentMethods
from activities.payments.open_authorisations import OrderPayments
from activities.payments.payments import Payments
from activities.payments.reconciliation import Reconciliations
from activities.payments.refunds import Refunds
from activities.payments.retry import PaymentRetries
from activities.payments.texts import PaymentTexts
from models.db.session import Database
from runtime.settings import Settings
from workflows import queues
from workflows.checkout import Checkout
from workflows.cleanup import CheckoutCleanup
from workflows.email_verification import EmailVerification
from workflows.invitation import Invitation
from workflows.order import Order
from workflows.password_reset import PasswordReset
from workflows.payment_retry import PaymentRetry
from workflows.reconciliation import Reconciliation
from workflows.refund import Refund
from workflows.remove_payment_method import RemovePaymentMethod
from workflows.return_ import Return
from workflows.save_payment_method import SavePaymentMethod
from workflows.shipment import Shipment


@dataclass(frozen=True)
class Work:
    """The registrations of one queue. `slots` bounds its concurrent activities, so that no queue starves another.

    `builds`: whether executions stay on the build that started them (short ones) or move to the next.
    """

    workflows: list[type]
    activities: list[Callable[..., Any]]
    slots: int
    builds: VersioningBehavior = VersioningBehavior.AUTO_UPGRADE


def build(settings: Settings, database: Database) -> Mapping[str, Work]:
    gateways = payment_gateways(settings)
    cards = StripeCards(settings.stripe_api_key.get_secret_value(), base=settings.stripe_base)
    tasks = Tasks(database)
    return {
        queues.CHECKOUT: Work(
            workflows=[Checkout, CheckoutCleanup, SavePaymentMethod, RemovePaymentMethod],
            activities=activities_of(
                Checkouts(database),
                Payments(database, gateways),
                PaymentMethods(database, {StripeCards.name: cards}),
                tasks,
            ),
            slots=24,
            builds=VersioningBehavior.PINNED,
        ),
        queues.ORDERS: Work(
            workflows=[Order, Refund, Return, Shipment, Reconciliation, PaymentRetry],
            activities=activities_of(
                PaymentRetries(database, gateways),
                Fulfilment(database),
                Parcels(database, CarrierGateway.of(settings)),
                Refunds(database, gateways),
                Returns(database),
                OrderCommands(database),
                OrderPayments(database, gateways),
                order_mails(settings, database),
                Reconciliations(database, gateways),
                tasks,
            ),
            slots=8,
        ),
        queues.NOTIFICATIONS: Work(
            workflows=[EmailVerification, PasswordReset, Invitation],
            activities=activities_of(account_mails(settings, database), tasks),
            slots=4,
        ),
    }


def activities_of(*capabilities: object) -> list[Callable[..., Any]]:
    """Every method of theirs that is an activity; inspects the class, so that no property is evaluated."""
    return [
        getattr(capability, name)
        for capability in capabilities
        for name, member in inspect.getmembers(type(capability), inspect.isfunction)
        if is_activity(member)
    ]


def is_activity(member: Callable[..., Any]) -> bool:
    """As the SDK's worker decides; the SDK has no public function for it."""
    return activity._Definition.from_callable(member) is not None


def account_mails(settings: Settings, database: Database) -> Accounts:
    return Accounts(
        database,
        _mail_once(settings, database),
        Vault.of(settings),
        shop=settings.shop_name,
        public_url=settings.storefront_url,
    )


def payment_texts(settings: Settings, database: Database) -> PaymentTexts:
    account = settings.twilio_account_sid
    token = settings.twilio_auth_token.get_secret_value()
    sms = SmsGateway(account, token, base=settings.twilio_base, sender=settings.sms_from) if account else None
    return PaymentTexts(
        database,
        sms,
        shop=settings.shop_name,
        public_url=settings.storefront_url,
        unknown_seconds=settings.mail_unknown_seconds,
    )


def order_mails(settings: Settings, database: Database) -> Notifications:
    return Notifications(
        database, _mail_once(settings, database), shop=settings.shop_name, public_url=settings.storefront_url
    )


def _mail_once(settings: Settings, database: Database) -> MailOnce:
    gateway = MailGateway(
        settings.sendgrid_api_key.get_secret_value(), base=settings.sendgrid_base, sender=settings.mail_from
    )
    return MailOnce(database, gateway, unknown_seconds=settings.mail_unknown_seconds)
