"""Every setting of every process. Each entry point reads `HOLDFAST_*` once and passes a frozen `Settings` on."""

from __future__ import annotations

import os
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from typing import Literal, Self

from limits import parse
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

SANDBOX_STRIPE_KEY = "sk_test_sandbox"
SANDBOX_STRIPE_WEBHOOK_SECRET = "whsec_sandbox"  # noqa: S105  the sandbox's own, refused in production
SANDBOX_PAYPAL_CLIENT = "sandbox-paypal"
SANDBOX_PAYPAL_WEBHOOK_ID = "WH-SANDBOX"
SANDBOX_SENDGRID_KEY = "SG.sandbox"
# The public half of the key pair with which the sandbox signs its mail events (prime256v1, as SendGrid does).
SANDBOX_SENDGRID_WEBHOOK_KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEsHBk+/jIcuKjZuQC3o17TtlwB0Bd"
    "TxZC1qNfDxBqG4jlKg4es7r5EOHr9bMd+TSHNsOugI8YIk5BK2bq9ABm3w=="
)
SANDBOX_CARRIER_KEY = "ck_sandbox"
SANDBOX_CARRIER_WEBHOOK_SECRET = "whsec_c2FuZGJveC1jYXJyaWVyLXdlYmhvb2stc2VjcmV0"  # noqa: S105  as above
# The shop's client ids at the sandbox's identity providers.
SANDBOX_GOOGLE_CLIENT = "sandbox-google"
SANDBOX_FACEBOOK_CLIENT = "sandbox-facebook"
SANDBOX_TWILIO_ACCOUNT = "AC" + "0" * 32
DEVELOPMENT_DATABASE_PASSWORD = "holdfast"  # noqa: S105  as above

DEMO_PASSWORD = "try-the-whole-shop"  # noqa: S105  of accounts that exist in development only


class Environment(StrEnum):
    DEVELOPMENT = "development"
    TEST = "test"
    PRODUCTION = "production"


class Settings(BaseSettings):
    """Frozen; times in seconds, sizes in bytes. A bad value stops the process with the setting's name."""

    model_config = SettingsConfigDict(env_prefix="HOLDFAST_", frozen=True, extra="ignore", hide_input_in_errors=True)

    env: Environment = Environment.DEVELOPMENT
    data_dir: Path = Path(".holdfast")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    # Addresses and ports to listen on.
    api_host: str = "127.0.0.1"
    api_port: int = 8000
    trusted_proxies: str = ""  # addresses and networks whose X-Forwarded-For is believed, separated by commas
    postgres_port: int = 5433
    valkey_port: int = 6380
    temporal_port: int = 7233
    temporal_ui_port: int = 8233
    sandbox_port: int = 8010
    worker_metrics_port: int = 8001

    # Existing servers; empty means the stack's embedded one at its port above.
    database_url: str = Field("", repr=False)  # may hold a password
    database_listen_url: str = Field("", repr=False)  # for LISTEN, where database_url is that of a pooler
    redis_url: str = Field("", repr=False)
    temporal_address: str = ""
    temporal_namespace: str = "default"
    temporal_tls: bool = False
    temporal_tls_ca: Path | None = None  # PEM files: the authority; and our certificate and its key, for mutual TLS
    temporal_tls_cert: Path | None = None
    temporal_tls_key: Path | None = None
    temporal_tls_name: str = ""  # the server's name in its certificate, where it isn't that of the address
    temporal_api_key: SecretStr = SecretStr("")  # of Temporal Cloud; travels by TLS only

    # Shown to buyers.
    public_url: str = ""
    shop_name: str = "Holdfast Outfitters"
    mail_from: str = "shop@holdfast.example"

    # Providers; an empty base URL means the sandbox, unless real keys are set.
    stripe_api_key: SecretStr = SecretStr(SANDBOX_STRIPE_KEY)
    stripe_api_base: str = ""
    stripe_webhook_secret: SecretStr = SecretStr(SANDBOX_STRIPE_WEBHOOK_SECRET)
    paypal_client_id: str = SANDBOX_PAYPAL_CLIENT  # empty: PayPal is off
    paypal_client_secret: SecretStr = SecretStr("sandbox-paypal-secret")
    paypal_api_base: str = ""
    paypal_webhook_id: str = SANDBOX_PAYPAL_WEBHOOK_ID
    sendgrid_api_key: SecretStr = SecretStr(SANDBOX_SENDGRID_KEY)
    sendgrid_api_base: str = ""
    sendgrid_webhook_key: str = SANDBOX_SENDGRID_WEBHOOK_KEY

    # Text messages; without an account none are sent.
    twilio_account_sid: str = SANDBOX_TWILIO_ACCOUNT
    twilio_auth_token: SecretStr = SecretStr("sandbox-twilio-token")
    twilio_api_base: str = ""
    sms_from: str = "+15005550006"

    # The parcel carrier; without a key there is none: no labels are bought and no tracking is polled.
    carrier_api_key: SecretStr = SecretStr(SANDBOX_CARRIER_KEY)
    carrier_api_base: str = ""
    carrier_webhook_secret: SecretStr = SecretStr(SANDBOX_CARRIER_WEBHOOK_SECRET)

    # Signing in with Google or Facebook; without a client id it is off.
    google_client_id: str = SANDBOX_GOOGLE_CLIENT
    google_client_secret: SecretStr = SecretStr("sandbox-google-secret")
    facebook_client_id: str = SANDBOX_FACEBOOK_CLIENT
    facebook_client_secret: SecretStr = SecretStr("sandbox-facebook-secret")

    # `signing_key` signs access tokens: an Ed25519 private key as PEM; keys after it only verify, during a rotation.
    # `secret_key` derives the secrets of links and the like. Development generates both in the data folder.
    signing_key: SecretStr = SecretStr("")
    secret_key: SecretStr = SecretStr("")

    # The password of the development accounts, one for each role.
    demo_password: SecretStr = Field(SecretStr(DEMO_PASSWORD), min_length=12)

    # Business times.
    hold_seconds: float = Field(900, gt=0)
    payment_action_seconds: float = Field(1800, gt=0)
    password_reset_seconds: float = Field(3600, gt=0)
    email_verification_seconds: float = Field(86_400, gt=0)
    invitation_seconds: float = Field(604_800, gt=0)
    access_token_seconds: float = Field(600, gt=0)
    refresh_token_seconds: float = Field(2_592_000, gt=0)
    oauth_seconds: float = Field(600, gt=0)
    cart_abandoned_seconds: float = Field(3600, gt=0)
    return_window_seconds: float = Field(2_592_000, gt=0)
    return_expires_seconds: float = Field(2_592_000, gt=0)  # from a return's request to its arrival
    retry_ladder_scale: float = Field(1.0, gt=0)
    reconciliation_seconds: float = Field(86_400, ge=1)  # between two runs
    reconciliation_margin_seconds: float = Field(10_800, ge=0)  # younger movements are not compared
    parcel_poll_seconds: float = Field(21_600, gt=0)  # between two polls of the carrier without a tracking event
    parcel_silent_seconds: float = Field(864_000, gt=0)  # without a tracking event, until a parcel counts as lost

    # Deadlines and polling.
    checkout_deadline_seconds: float = Field(10, gt=0)
    payment_lookup_seconds: float = Field(30, gt=0)  # between two polls of a payment during its challenge
    mail_unknown_seconds: float = Field(60, gt=0)  # an unanswered send waits so long for the provider's event

    # Limits.
    # Requests by class of route and by network (api/limits.py); wide, so that a local load test does not meet them.
    # Production demands narrower ones.
    rate_limit: str = "1000000/minute"
    auth_rate_limit: str = "1000000/minute"
    code_rate_limit: str = "1000000/minute"
    cart_rate_limit: str = "1000000/minute"
    webhook_rate_limit: str = "1000000/minute"
    account_mails_per_hour: int = Field(5, gt=0)  # per recipient and kind
    password_min_length: int = Field(12, ge=8, le=256)
    login_free_failures: int = Field(5, ge=1)  # after these, each failure doubles the wait
    login_failures_ceiling: int = Field(100, ge=1)  # in a row: then the password must be reset by mail
    max_body_bytes: int = Field(1_048_576, gt=0)

    # Rolling upgrades (docs/operations.md): a worker with a build id gets only what its deployment routes to it.
    worker_deployment: str = Field("holdfast", pattern=r"^[^.:\s]+$")  # the server joins the two with these characters
    worker_build_id: str = ""

    # Crash tests only: `name=kill@marker;…`, see runtime/failpoints.py.
    failpoints: str = ""

    @property
    def production(self) -> bool:
        return self.env is Environment.PRODUCTION

    @property
    def database(self) -> str:
        """A SQLAlchemy URL; `postgresql://` is taken to mean psycopg 3 (`+psycopg2` needs the extra `psycopg2`)."""
        if self.database_url:
            return self.database_url.replace("postgresql://", "postgresql+psycopg://", 1)
        return f"postgresql+psycopg://holdfast:{DEVELOPMENT_DATABASE_PASSWORD}@127.0.0.1:{self.postgres_port}/holdfast"

    @property
    def libpq_url(self) -> str:
        """The same database as a libpq URL, without a driver."""
        scheme, rest = self.database.split("://", 1)
        return f"{scheme.split('+')[0]}://{rest}"

    @property
    def listen_url(self) -> str:
        return self.database_listen_url or self.libpq_url

    @property
    def redis(self) -> str:
        return self.redis_url or f"redis://127.0.0.1:{self.valkey_port}/0"

    @property
    def temporal(self) -> str:
        return self.temporal_address or f"127.0.0.1:{self.temporal_port}"

    @property
    def sandbox_url(self) -> str:
        return f"http://127.0.0.1:{self.sandbox_port}"

    @property
    def api_url(self) -> str:
        """The API on the loopback address."""
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def storefront_url(self) -> str:
        """The base of links in mails: the configured public address, never a request's Host header."""
        return (self.public_url or self.api_url).rstrip("/")

    @property
    def stripe_base(self) -> str:
        """Empty for the real Stripe."""
        if self.stripe_api_base:
            return self.stripe_api_base
        return self.sandbox_url if self.stripe_api_key.get_secret_value() == SANDBOX_STRIPE_KEY else ""

    @property
    def paypal_base(self) -> str:
        """Empty for the real PayPal."""
        if self.paypal_api_base:
            return self.paypal_api_base
        return f"{self.sandbox_url}/paypal" if self.paypal_client_id == SANDBOX_PAYPAL_CLIENT else ""

    @property
    def sendgrid_base(self) -> str:
        """Empty for the real SendGrid."""
        if self.sendgrid_api_base:
            return self.sendgrid_api_base
        return self.sandbox_url if self.sendgrid_api_key.get_secret_value() == SANDBOX_SENDGRID_KEY else ""

    @property
    def carrier_base(self) -> str:
        """Empty where there is no carrier."""
        if self.carrier_api_base:
            return self.carrier_api_base
        return self.sandbox_url if self.carrier_api_key.get_secret_value() == SANDBOX_CARRIER_KEY else ""

    @property
    def twilio_base(self) -> str:
        """Empty for the real Twilio."""
        if self.twilio_api_base:
            return self.twilio_api_base
        return self.sandbox_url if self.twilio_account_sid == SANDBOX_TWILIO_ACCOUNT else ""

    @property
    def google_base(self) -> str:
        """Empty for the real Google."""
        return f"{self.sandbox_url}/idp/google" if self.google_client_id == SANDBOX_GOOGLE_CLIENT else ""

    @property
    def facebook_base(self) -> str:
        """Empty for the real Facebook."""
        return f"{self.sandbox_url}/idp/facebook" if self.facebook_client_id == SANDBOX_FACEBOOK_CLIENT else ""

    @field_validator("trusted_proxies")
    @classmethod
    def _only_addresses(cls, value: str) -> str:
        """Refuses names and `*`: with them a client could choose the address that its failed logins are counted for."""
        for proxy in filter(None, map(str.strip, value.split(","))):
            ip_network(proxy)
        return value

    @field_validator("rate_limit", "auth_rate_limit", "code_rate_limit", "cart_rate_limit", "webhook_rate_limit")
    @classmethod
    def _only_rates(cls, value: str) -> str:
        parse(value)
        return value

    @model_validator(mode="after")
    def _refuse_development_in_production(self) -> Self:
        if self.production:
            from runtime.production import problems  # its table is about this class

            if found := problems(self, os.environ):
                raise ValueError("refusing to start with HOLDFAST_ENV=production: " + "; ".join(found))
        return self
