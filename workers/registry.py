"""What each queue's worker runs: the activity classes with their clients, built once, and the workflows by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from temporalio.common import VersioningBehavior

from activities.accounts import Accounts
from activities.checkouts import Checkouts
from activities.fulfilment import Fulfilment
from activities.gateways.carrier import CarrierGateway
from activities.gateways.mail import MailGateway
from activities.gateways.providers import payment_gateways
from activities.gateways.secrets import Vault
from activities.gateways.sms import SmsGateway
from activities.gateways.stripe_cards import StripeCards
from activities.mail_once import MailOnce
from activities.notifications import Notifications
from activities.order_commands import OrderCommands
from activities.order_payments import OrderPayments
from activities.parcels import Parcels
from activities.payment_methods import PaymentMethods
from activities.payment_retry import PaymentRetries
from activities.payment_texts import PaymentTexts
from activities.payments import Payments
from activities.reconciliation import Reconciliations
from activities.refunds import Refunds
from activities.returns import Returns
from activities.tasks import Tasks
from models.db.session import Database
from models.settings import Settings
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
    """One queue's share. `slots` bounds what runs at once, so that no queue starves another.

    `builds`: whether its processes end on the build that began them (short ones) or move on to the next.
    """

    workflows: list[type]
    activities: list[Callable[..., Any]]
    slots: int
    builds: VersioningBehavior = VersioningBehavior.AUTO_UPGRADE


def build(settings: Settings, database: Database) -> Mapping[str, Work]:
    gateways = payment_gateways(settings)
    accounts = account_mails(settings, database)
    checkouts = Checkouts(database)
    payments = Payments(database, gateways)
    cards = StripeCards(settings.stripe_api_key.get_secret_value(), base=settings.stripe_base)
    methods = PaymentMethods(database, {StripeCards.name: cards})
    fulfilment = Fulfilment(database)
    retries = PaymentRetries(database, gateways)
    parcels = Parcels(database, CarrierGateway.of(settings))
    refunds = Refunds(database, gateways)
    returns = Returns(database)
    reconciliations = Reconciliations(database, gateways)
    tasks = Tasks(database)
    notifications = order_mails(settings, database)
    orders = OrderCommands(database)
    order_payments = OrderPayments(database, gateways)
    return {
        queues.CHECKOUT: Work(
            workflows=[Checkout, CheckoutCleanup, SavePaymentMethod, RemovePaymentMethod],
            activities=[
                checkouts.hold_stock,
                checkouts.require_action,
                checkouts.confirm_order,
                checkouts.close_checkout,
                checkouts.release_hold,
                checkouts.orphaned_checkout,
                payments.authorise_payment,
                payments.settle_payment,
                payments.look_up_payment,
                payments.complete_payment,
                payments.void_payment,
                payments.cancel_payment,
                methods.begin_payment_method,
                methods.ensure_payment_customer,
                methods.set_up_payment_method,
                methods.settle_payment_method,
                methods.ask_card_owner,
                methods.look_up_payment_method,
                methods.cancel_payment_method,
                methods.undo_payment_method,
                methods.keep_payment_method,
                methods.keep_paid_method,
                methods.close_payment_method,
                methods.detach_payment_method,
                methods.drop_payment_method,
                tasks.open_task,
                tasks.ask_person,
                tasks.close_task,
            ],
            slots=24,
            builds=VersioningBehavior.PINNED,
        ),
        queues.ORDERS: Work(
            workflows=[Order, Refund, Return, Shipment, Reconciliation, PaymentRetry],
            activities=[
                retries.fail_payment,
                retries.begin_payment_retry,
                retries.plan_payment_try,
                retries.charge_order,
                retries.look_at_try,
                retries.accept_payment,
                retries.ask_payer,
                retries.note_ladder,
                retries.release_try,
                retries.give_up_payment,
                fulfilment.plan_shipment,
                fulfilment.confirm_shipment,
                fulfilment.drop_shipment,
                fulfilment.record_scan,
                fulfilment.complete_order,
                parcels.buy_label,
                parcels.void_label,
                parcels.look_at_parcel,
                parcels.ask_carrier,
                parcels.declare_lost,
                refunds.read_refund,
                refunds.give_refund,
                refunds.record_refund,
                refunds.retry_refund,
                refunds.adopt_refund,
                returns.look_at_return,
                returns.receive_return,
                returns.refuse_return,
                returns.expire_return,
                orders.look_at_order,
                orders.cancel_order,
                orders.cancel_remainder,
                orders.hold_order,
                orders.release_order,
                order_payments.release_authorisation,
                payments.capture_payment,
                notifications.send_order_confirmation,
                reconciliations.list_providers,
                reconciliations.begin_reconciliation,
                reconciliations.read_movements,
                reconciliations.compare_books,
                reconciliations.list_unsettled,
                reconciliations.settle_difference,
                reconciliations.leave_difference,
                reconciliations.end_reconciliation,
                tasks.open_task,
                tasks.ask_person,
                tasks.close_task,
            ],
            slots=8,
        ),
        queues.NOTIFICATIONS: Work(
            workflows=[EmailVerification, PasswordReset, Invitation],
            activities=[
                accounts.send_link,
                accounts.end_link,
                accounts.tell_password_was_reset,
                tasks.open_task,
                tasks.ask_person,
                tasks.close_task,
            ],
            slots=4,
        ),
    }


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
