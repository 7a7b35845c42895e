"""Settings: read once, frozen, and nothing of a developer's machine in production."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import ValidationError

from runtime.production import RULES
from runtime.settings import Settings

GOOD = {
    "env": "production",
    "database_url": "postgresql://shop:Zq8-long-and-random@db.internal/shop?sslmode=verify-full",
    "redis_url": "rediss://cache.internal/0",
    "temporal_address": "temporal.internal:7233",
    "temporal_tls": "true",
    "public_url": "https://shop.example",
    "signing_key": Ed25519PrivateKey.generate()
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode(),
    "secret_key": "u3Jq0-a-long-and-random-secret-of-ours",
    "stripe_api_key": "sk_live_0123456789abcdef0123456789",
    "stripe_webhook_secret": "whsec_0123456789abcdef0123456789",
    "paypal_client_id": "AbCdEf0123456789",
    "paypal_client_secret": "0123456789abcdef0123456789abcdef",
    "paypal_webhook_id": "8PT597110X687430LKGECATA",
    "sendgrid_api_key": "SG.0123456789abcdef0123456789",
    "twilio_account_sid": "AC0123456789abcdef0123456789abcdef",
    "twilio_auth_token": "0123456789abcdef0123456789abcdef",
    "carrier_api_key": "ck_live_0123456789abcdef0123456789",
    "carrier_api_base": "https://carrier.example",
    "carrier_webhook_secret": "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODk=",
    "google_client_id": "1234567890.apps.googleusercontent.com",
    "google_client_secret": "GOCSPX-0123456789abcdef",
    "facebook_client_id": "1234567890123456",
    "facebook_client_secret": "0123456789abcdef0123456789abcdef",
    "rate_limit": "600/minute",
    "auth_rate_limit": "30/minute",
    "code_rate_limit": "20/minute",
    "cart_rate_limit": "60/minute",
    "webhook_rate_limit": "6000/minute",
    "sendgrid_webhook_key": "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEanotherkey==",
}


def test_a_good_production_starts():
    settings = Settings.model_validate(GOOD)
    assert settings.production
    assert settings.paypal_base == ""
    assert settings.stripe_base == settings.sendgrid_base == settings.google_base == settings.facebook_base == ""
    assert settings.database.startswith("postgresql+psycopg")


def test_production_can_do_without_paypal():
    off = {"paypal_client_id": "", "paypal_client_secret": "", "paypal_webhook_id": ""}
    assert Settings.model_validate({**GOOD, **off}).production


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("database_url", ""),
        ("database_url", "postgresql://holdfast:holdfast@db.internal/shop"),
        ("database_url", "postgresql://shop@db.internal/shop?sslmode=require"),
        ("database_url", "postgresql://shop:Zq8-long-and-random@db.internal/shop"),
        ("database_url", "postgresql://shop:Zq8-long-and-random@db.internal/shop?sslmode=prefer"),
        ("redis_url", ""),
        ("redis_url", "redis://cache.internal/0"),
        ("temporal_tls", "false"),
        ("trusted_proxies", "0.0.0.0/0"),
        ("trusted_proxies", "10.0.0.1, ::/0"),
        ("public_url", "https://"),
        ("signing_key", "-----BEGIN PRIVATE KEY-----\nc2hvcnQ=\n-----END PRIVATE KEY-----"),
        ("secret_key", "a" * 40),
        ("stripe_api_key", "sk_test_0123456789abcdef0123456789"),
        ("stripe_api_key", "rk_test_0123456789abcdef0123456789"),
        ("stripe_api_base", "http://stripe.example"),
        ("paypal_api_base", "http://paypal.example"),
        ("sendgrid_api_base", "http://sendgrid.example"),
        ("twilio_api_base", "http://twilio.example"),
        ("sendgrid_webhook_key", ""),
        ("access_token_seconds", "31536000"),
        ("refresh_token_seconds", "31536000"),
        ("password_reset_seconds", "31536000"),
        ("login_failures_ceiling", "1000000"),
        ("hold_seconds", "1"),
        ("max_body_bytes", "1000000000"),
        ("rate_limit", "1000000/minute"),
        ("rate_limit", "1000/second"),
        ("auth_rate_limit", "1000000/minute"),
        ("code_rate_limit", "1000000/minute"),
        ("cart_rate_limit", "1000000/minute"),
        ("webhook_rate_limit", "1000000/minute"),
        ("temporal_address", ""),
        ("temporal_address", "127.0.0.1:7233"),
        ("temporal_address", "localhost:7233"),
        ("public_url", "http://shop.example"),
        ("public_url", ""),
        ("signing_key", ""),
        ("signing_key", "secret"),
        ("secret_key", ""),
        ("secret_key", "too-short-a-secret"),
        ("stripe_api_key", "sk_test_sandbox"),
        ("stripe_api_key", "changeme"),
        ("stripe_webhook_secret", "whsec_sandbox"),
        ("stripe_webhook_secret", "short"),
        ("sendgrid_api_key", "SG.sandbox"),
        ("twilio_account_sid", "AC" + "0" * 32),
        ("twilio_auth_token", "sandbox-twilio-token"),
        ("sendgrid_webhook_key", Settings.model_fields["sendgrid_webhook_key"].default),
        ("paypal_client_id", "sandbox-paypal"),
        ("paypal_client_secret", "sandbox-paypal-secret"),
        ("paypal_client_secret", ""),
        ("paypal_webhook_id", ""),
        ("paypal_webhook_id", "WH-SANDBOX"),
        ("carrier_api_key", "ck_sandbox"),
        ("carrier_api_base", ""),
        ("carrier_api_base", "http://carrier.example"),
        ("carrier_webhook_secret", Settings.model_fields["carrier_webhook_secret"].default.get_secret_value()),
        ("carrier_webhook_secret", ""),
        ("demo_password", "a password for the demo"),
        ("google_client_id", "sandbox-google"),
        ("google_client_secret", "sandbox-google-secret"),
        ("google_client_secret", ""),
        ("facebook_client_id", "sandbox-facebook"),
        ("facebook_client_secret", "short"),
        ("failpoints", "hold_stock:before=kill"),
    ],
)
def test_a_weak_or_missing_one_stops_production_and_is_named(name, value):
    with pytest.raises(ValidationError, match=f"HOLDFAST_{name.upper()}") as refused:
        Settings.model_validate({**GOOD, name: value})
    if value and name != "failpoints":
        assert f"={value}" not in str(refused.value.errors()[0]["msg"])


@pytest.mark.parametrize(
    "kept",
    [
        {"database_url": "postgresql://shop:Zq8-long-and-random@127.0.0.1/shop", "redis_url": "redis://localhost/0"},
        {"trusted_proxies": "10.0.0.0/8, 2001:db8::/32"},
        {"temporal_api_key": "0123456789abcdef0123456789abcdef"},
    ],
)
def test_what_stays_on_the_machine_or_is_narrow_may_be(kept):
    assert Settings.model_validate({**GOOD, **kept}).production


def test_a_misspelt_setting_stops_production_and_nothing_else(monkeypatch):
    monkeypatch.setenv("HOLDFAST_STRIPE_APIKEY", "sk_live_0123456789abcdef0123456789")
    assert Settings().env == "development"
    with pytest.raises(ValidationError, match="HOLDFAST_STRIPE_APIKEY is not a setting"):
        Settings.model_validate(GOOD)


def test_every_rule_names_a_setting():
    assert {rule.setting for rule in RULES} <= Settings.model_fields.keys()


def test_every_fault_is_named_at_once():
    with pytest.raises(ValidationError) as refused:
        Settings.model_validate({"env": "production"})
    message = str(refused.value)
    for name in ("DATABASE_URL", "TEMPORAL_ADDRESS", "SIGNING_KEY", "STRIPE_API_KEY", "SENDGRID_API_KEY"):
        assert f"HOLDFAST_{name}" in message


def test_they_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("HOLDFAST_HOLD_SECONDS", "5")
    monkeypatch.setenv("HOLDFAST_API_PORT", "9000")
    settings = Settings()
    assert (settings.hold_seconds, settings.api_port) == (5, 9000)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HOLD_SECONDS", "0"),
        ("HOLD_SECONDS", "-1"),
        ("API_PORT", "x"),
        ("ENV", "prod"),
        ("LOG_LEVEL", "LOUD"),
        ("RATE_LIMIT", "many"),
    ]
    + [("TRUSTED_PROXIES", proxies) for proxies in ("*", "localhost", "10.0.0.1,*", "10.0.0.1/8")],
)
def test_a_bad_value_names_its_setting(monkeypatch, name, value):
    monkeypatch.setenv(f"HOLDFAST_{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()


def test_they_cannot_be_changed():
    with pytest.raises(ValidationError):
        Settings().hold_seconds = 1


def test_secrets_do_not_print():
    settings = Settings.model_validate(GOOD)
    with pytest.raises(ValidationError) as refused:
        Settings.model_validate({**GOOD, "failpoints": "x"})
    for secret in ("sk_live_", "whsec_0", "SG.0", "PRIVATE KEY", "Zq8-long-and-random"):
        assert secret not in repr(settings)
        assert secret not in str(refused.value)


def test_real_keys_lead_to_the_real_provider():
    assert Settings(stripe_api_key="sk_test_realone").stripe_base == ""
    assert Settings().stripe_base == Settings().sandbox_url
