"""What HOLDFAST_ENV=production refuses, as one table. A broken rule names its setting and why, never the value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from limits import parse
from pydantic import SecretStr

from runtime.settings import (
    DEMO_PASSWORD,
    DEVELOPMENT_DATABASE_PASSWORD,
    SANDBOX_CARRIER_WEBHOOK_SECRET,
    SANDBOX_FACEBOOK_CLIENT,
    SANDBOX_GOOGLE_CLIENT,
    SANDBOX_PAYPAL_CLIENT,
    SANDBOX_PAYPAL_WEBHOOK_ID,
    SANDBOX_SENDGRID_WEBHOOK_KEY,
    SANDBOX_TWILIO_ACCOUNT,
    Settings,
)

WEAK = frozenset({"", "secret", "password", "changeme", "holdfast", "sandbox", "test"})
ENCRYPTED = frozenset({"require", "verify-ca", "verify-full"})  # libpq's `sslmode`, of a server elsewhere
WIDEST_PROXY_NETWORK = {4: 8, 6: 16}  # prefix lengths


class Rule(NamedTuple):
    setting: str
    broken: Callable[[Settings], bool]
    why: str


def problems(settings: Settings, environment: Mapping[str, str]) -> list[str]:
    """One line for each broken rule, and for each HOLDFAST_ variable that is no setting."""
    broken = [f"HOLDFAST_{rule.setting.upper()} {rule.why}" for rule in RULES if rule.broken(settings)]
    return [*broken, *(f"{name} is not a setting" for name in _unknown(environment))]


def _unknown(environment: Mapping[str, str]) -> Iterator[str]:
    known = {f"HOLDFAST_{name}".upper() for name in Settings.model_fields}
    for name in sorted(environment):
        if name.upper().startswith("HOLDFAST_") and name.upper() not in known:
            yield name


def _weak(secret: SecretStr) -> bool:
    """Short, well-known, or of too few different characters."""
    value = secret.get_secret_value()
    return value in WEAK or "sandbox" in value or len(value) < 16 or len(set(value)) < 8


def _no_signing_key(settings: Settings) -> bool:
    """The first key signs; the API reads those after it too."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(settings.signing_key.get_secret_value().encode(), None)
    except (ValueError, TypeError):
        return True
    return not isinstance(key, Ed25519PrivateKey)


def _is_here(host: str | None) -> bool:
    """A socket's folder, or a loopback address: nothing travels over a network."""
    if not host or host == "localhost" or host.startswith("/"):
        return True
    try:
        return ip_address(host).is_loopback or ip_address(host).is_unspecified
    except ValueError:
        return False


def _host_of(address: str) -> str:
    return address.rsplit(":", 1)[0].strip("[]")


def _database_in_clear(settings: Settings) -> bool:
    url = urlsplit(settings.database_url)
    return not _is_here(url.hostname) and parse_qs(url.query).get("sslmode", [""])[0] not in ENCRYPTED


def _redis_in_clear(settings: Settings) -> bool:
    url = urlsplit(settings.redis_url)
    return not _is_here(url.hostname) and url.scheme != "rediss"


def _everybody_is_a_proxy(settings: Settings) -> bool:
    networks = [ip_network(one.strip()) for one in settings.trusted_proxies.split(",") if one.strip()]
    return any(network.prefixlen < WIDEST_PROXY_NETWORK[network.version] for network in networks)


def _https(setting: str) -> Rule:
    """Where it is set, an address at which our keys are shown."""
    return Rule(
        setting, lambda s: getattr(s, setting) != "" and not _is_https(getattr(s, setting)), "must be an https address"
    )


def _is_https(address: str) -> bool:
    url = urlsplit(address)
    return url.scheme == "https" and bool(url.hostname)


def _between(setting: str, least: float, most: float) -> Rule:
    return Rule(setting, lambda s: not least <= getattr(s, setting) <= most, f"must be from {least:g} to {most:g}")


def _strong(setting: str, only_with: str = "") -> Rule:
    """A secret; `only_with`: the setting that switches its service on."""

    def broken(settings: Settings) -> bool:
        used = not only_with or _text(getattr(settings, only_with)) != ""
        return used and _weak(getattr(settings, setting))

    return Rule(setting, broken, "is weak or the sandbox's")


def _rate(setting: str, most: int) -> Rule:
    def broken(settings: Settings) -> bool:
        limit = parse(getattr(settings, setting))
        return limit.amount * 60 > most * limit.get_expiry()

    return Rule(setting, broken, f"must be {most}/minute or narrower")


def _text(value: str | SecretStr) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _not(setting: str, value: str) -> Rule:
    return Rule(setting, lambda s: _text(getattr(s, setting)) == value, "is the sandbox's")


RULES: tuple[Rule, ...] = (
    # Engines: named, with credentials, and encrypted unless they are on this machine.
    Rule("database_url", lambda s: not s.database_url, "must name the database"),
    Rule("database_url", lambda s: bool(s.database_url) and not urlsplit(s.database_url).password, "has no password"),
    Rule(
        "database_url",
        lambda s: urlsplit(s.database_url).password == DEVELOPMENT_DATABASE_PASSWORD,
        "has the development password",
    ),
    Rule("database_url", _database_in_clear, "must have sslmode=require, verify-ca or verify-full"),
    Rule("redis_url", lambda s: not s.redis_url, "must name the Redis server"),
    Rule("redis_url", _redis_in_clear, "must begin with rediss://"),
    Rule(
        "temporal_address",
        lambda s: not s.temporal_address or _is_here(_host_of(s.temporal_address)),
        "must name a Temporal cluster, not the development server",
    ),
    Rule("temporal_tls", lambda s: not s.temporal_tls, "must be true: whoever reads or writes there moves money"),
    # What others see of us, and we believe of them.
    Rule("public_url", lambda s: not _is_https(s.public_url), "must be an https address"),
    Rule("trusted_proxies", _everybody_is_a_proxy, "names a network so wide that callers could choose their address"),
    # Keys.
    Rule("signing_key", _no_signing_key, "must be an Ed25519 private key as PEM"),
    Rule("secret_key", lambda s: len(s.secret_key.get_secret_value()) < 32, "must have 32 characters or more"),
    _strong("secret_key"),
    # Providers.
    _strong("stripe_api_key"),
    Rule(
        "stripe_api_key",
        lambda s: s.stripe_api_key.get_secret_value().startswith(("sk_test_", "rk_test_")),
        "is of Stripe's test mode",
    ),
    _https("stripe_api_base"),
    _strong("stripe_webhook_secret"),
    _not("paypal_client_id", SANDBOX_PAYPAL_CLIENT),
    _strong("paypal_client_secret", "paypal_client_id"),
    _https("paypal_api_base"),
    _not("paypal_webhook_id", SANDBOX_PAYPAL_WEBHOOK_ID),
    Rule("paypal_webhook_id", lambda s: bool(s.paypal_client_id) and not s.paypal_webhook_id, "is missing"),
    _strong("sendgrid_api_key"),
    _https("sendgrid_api_base"),
    _not("sendgrid_webhook_key", SANDBOX_SENDGRID_WEBHOOK_KEY),
    Rule("sendgrid_webhook_key", lambda s: not s.sendgrid_webhook_key, "is missing"),
    _not("twilio_account_sid", SANDBOX_TWILIO_ACCOUNT),
    _strong("twilio_auth_token", "twilio_account_sid"),
    _https("twilio_api_base"),
    _strong("carrier_api_key", "carrier_api_key"),
    Rule(
        "carrier_api_base",
        lambda s: _text(s.carrier_api_key) != "" and not _is_https(s.carrier_api_base),
        "must be an https address where there is a carrier",
    ),
    _not("carrier_webhook_secret", SANDBOX_CARRIER_WEBHOOK_SECRET),
    _strong("carrier_webhook_secret", "carrier_api_key"),
    _not("google_client_id", SANDBOX_GOOGLE_CLIENT),
    _strong("google_client_secret", "google_client_id"),
    _not("facebook_client_id", SANDBOX_FACEBOOK_CLIENT),
    _strong("facebook_client_secret", "facebook_client_id"),
    # What only development and tests have.
    Rule("demo_password", lambda s: _text(s.demo_password) != DEMO_PASSWORD, "is for development"),
    Rule("failpoints", lambda s: bool(s.failpoints), "must be empty"),
    # Times and counts outside of which a control is none, or nobody can buy.
    _between("access_token_seconds", 60, 3_600),
    _between("refresh_token_seconds", 3_600, 7_776_000),
    _between("password_reset_seconds", 300, 86_400),
    _between("email_verification_seconds", 900, 604_800),
    _between("invitation_seconds", 3_600, 2_592_000),
    _between("oauth_seconds", 60, 3_600),
    _between("login_free_failures", 1, 20),
    _between("login_failures_ceiling", 10, 1_000),
    _between("account_mails_per_hour", 1, 50),
    _between("hold_seconds", 60, 86_400),
    _between("payment_action_seconds", 60, 86_400),
    _between("checkout_deadline_seconds", 1, 60),
    _between("payment_lookup_seconds", 1, 600),
    _between("reconciliation_seconds", 3_600, 604_800),
    _rate("rate_limit", 6_000),
    _rate("auth_rate_limit", 300),
    _rate("code_rate_limit", 120),
    _rate("cart_rate_limit", 600),
    _rate("webhook_rate_limit", 60_000),
    _between("max_body_bytes", 16_384, 16_777_216),
)
