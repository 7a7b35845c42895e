"""Composition root of the sandbox."""

import json
import secrets

from sandbox import mail, signing, sms
from sandbox.calls import CallLog
from sandbox.carrier import service as carrier
from sandbox.clock import Clock
from sandbox.config import SandboxConfig
from sandbox.exchange import Service
from sandbox.identity.service import IdentityService
from sandbox.paypal_shaped import account as paypal
from sandbox.paypal_shaped import notifications
from sandbox.paypal_shaped.service import PayPalService
from sandbox.scripts import Scripts
from sandbox.store import Store
from sandbox.stripe_shaped.account import Account
from sandbox.stripe_shaped.service import StripeService
from sandbox.webhooks import Sender, Webhooks


class World:
    """All services of one sandbox, and what they share."""

    def __init__(self, config: SandboxConfig) -> None:
        self.store = Store(config.state)
        self.clock = Clock(self.store)
        self.calls = CallLog(self.store, self.clock)
        self.scripts = Scripts(self.store)
        self.webhooks = Webhooks(self.store, config.webhook_target, _senders(config))
        self.stripe = StripeService(Account(self.store, self.clock, self.webhooks, config.stripe_events))
        account = paypal.Account(self.store, self.clock, self.webhooks, config.paypal_events)
        self.paypal = PayPalService(account, config)
        self.mail = mail.MailService(self.store, self.clock, self.webhooks, config.sendgrid_events)
        self.sms = sms.SmsService(self.store, self.clock, self.webhooks)
        self.carrier = carrier.CarrierService(self.store, self.clock, self.webhooks)
        self.identity = IdentityService(self.store, self.clock, config)
        self.services: dict[str, Service] = {  # by the first segment of the path
            "v1": self.stripe,
            "v3": self.mail,
            sms.API_VERSION: self.sms,
            "idp": self.identity,
            "carrier": self.carrier,
            "paypal": self.paypal,
        }

    @property
    def service_names(self) -> list[str]:
        """The services that scripts can name."""
        return [service.name for service in self.services.values()]

    def reset(self) -> None:
        """Forget everything."""
        self.webhooks.stop()
        self.store.clear()
        self.stripe.account.reset()
        self.paypal.account.reset()


def _senders(config: SandboxConfig) -> dict[str, Sender]:
    key = signing.sendgrid_key(config.sendgrid_private_key)
    wrong_key = signing.new_key()

    def sign_stripe(_url: str, body: str, forged: bool) -> dict[str, str]:
        return signing.stripe_headers("whsec_forged" if forged else config.stripe_webhook_secret, body)

    def sign_sendgrid(_url: str, body: str, forged: bool) -> dict[str, str]:
        return signing.sendgrid_headers(wrong_key if forged else key, body)

    def sign_twilio(url: str, body: str, forged: bool) -> dict[str, str]:
        return signing.twilio_headers("forged" if forged else config.twilio_auth_token, url, body)

    def sign_carrier(_url: str, body: str, forged: bool) -> dict[str, str]:
        return signing.standard_headers("whsec_Zm9yZ2Vk" if forged else config.carrier_webhook_secret, body)

    def sign_paypal(_url: str, body: str, forged: bool) -> dict[str, str]:
        key = "forged" if forged else config.paypal_webhook_key
        return notifications.headers(key, config.paypal_webhook_id, "https://api.paypal.example", body)

    return {
        "stripe": Sender(sign_stripe, _forge_stripe),
        "paypal": Sender(sign_paypal, notifications.forge),
        "sendgrid": Sender(sign_sendgrid, mail.forge),
        "twilio": Sender(sign_twilio, sms.forge),
        "carrier": Sender(sign_carrier, carrier.forge),
    }


def _forge_stripe(body: str) -> str:
    """A forged event, which says that everything was paid."""
    event = json.loads(body)
    event["id"] = f"evt_{secrets.token_hex(12)}"
    claimed = event["data"]["object"]
    if claimed["object"] == "payment_intent":
        event["type"] = "payment_intent.succeeded"
        claimed.update(status="succeeded", amount_received=claimed["amount"], amount_capturable=0)
    return json.dumps(event)
