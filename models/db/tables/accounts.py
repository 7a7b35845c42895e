"""Tables of users: identities, sessions, links, notices, addresses, saved payment methods; API keys."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from models.accounts.access import Role
from models.accounts.accounts import LinkPurpose, LinkState, NoticeKind, RequestKind, SecondFactor
from models.db.tables.base import id_column, json_column, metadata, one_of, time_column
from models.payments.methods import PaymentMethodState

users = Table(
    "users",
    metadata,
    id_column(),
    Column("email", Text, nullable=False),  # as its owner writes it
    Column("email_key", Text, nullable=False, unique=True),  # models.accounts.accounts.email_key
    Column("name", Text, nullable=False),
    Column("password_hash", Text),  # NULL before verification, and without a password (Google, Facebook)
    Column("must_reset", Boolean, nullable=False, server_default=text("false")),  # too many failures in a row
    Column("role", Text, nullable=False),
    Column("totp_secret", LargeBinary),  # sealed, see activities/gateways/secrets.py
    time_column("totp_confirmed_at", nullable=True),
    Column("totp_last_step", BigInteger, nullable=False, server_default=text("0")),  # a code is valid once
    Column("recovery_digests", ARRAY(LargeBinary), nullable=False, server_default=text("'{}'")),
    json_column("preferences", default="{}"),
    Column("payment_customer", Text),  # the payment provider's customer id
    Column("version", Integer, nullable=False, server_default=text("1")),
    time_column("verified_at", nullable=True),
    time_column("disabled_at", nullable=True),
    time_column("created_at", default_now=True),
    CheckConstraint(one_of("role", Role), name="role"),
    Index("ix_users_unverified", "created_at", postgresql_where=text("verified_at IS NULL")),
)

identities = Table(
    "identities",
    metadata,
    Column("provider", Text, nullable=False),
    Column("subject", Text, nullable=False),  # the provider's id of the user
    Column("user_id", Text, ForeignKey("users.id"), nullable=False),
    time_column("created_at", default_now=True),
    PrimaryKeyConstraint("provider", "subject"),
    Index("ix_identities_user_id", "user_id"),
)

# The states of completed sign-ins at Google or Facebook: a state is valid once.
spent_sign_ins = Table(
    "spent_sign_ins",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    time_column("spent_at", default_now=True),
    Index("ix_spent_sign_ins_spent_at", "spent_at"),
)

sessions = Table(
    "sessions",
    metadata,
    id_column(),
    Column("user_id", Text, ForeignKey("users.id"), nullable=False),
    Column("method", Text, nullable=False),  # password, google, …
    Column("second_factor", Text, nullable=False),
    Column("user_agent", Text, nullable=False),
    Column("address", Text, nullable=False),
    time_column("created_at", default_now=True),
    time_column("seen_at", default_now=True),
    time_column("expires_at"),
    time_column("ended_at", nullable=True),
    Column("ended_why", Text),
    CheckConstraint(one_of("second_factor", SecondFactor), name="second_factor"),
    Index("ix_sessions_user_id", "user_id", postgresql_where=text("ended_at IS NULL")),
    Index("ix_sessions_expires_at", "expires_at"),
)

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("session_id", Text, ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
    time_column("issued_at", default_now=True),
    time_column("used_at", nullable=True),
    Column("used_with", LargeBinary),  # the digest of the request's Idempotency-Key
    Index("ix_refresh_tokens_session_id", "session_id"),
)

account_requests = Table(
    "account_requests",
    metadata,
    id_column(),
    Column("kind", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("name", Text),
    Column("password_hash", Text),
    Column("asked_from", Text),  # the address range of the caller
    time_column("created_at", default_now=True),
    CheckConstraint(one_of("kind", RequestKind), name="kind"),
)

links = Table(
    "links",
    metadata,
    id_column(),
    Column("user_id", Text, ForeignKey("users.id"), nullable=False),
    Column("purpose", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("state", Text, nullable=False, server_default=text("'live'")),
    Column("email", Text, nullable=False),  # the recipient; for a change of address the new one
    Column("email_key", Text, nullable=False),
    # Applied to the account when the link is used, so that only the mail's recipient activates them.
    Column("name", Text),
    Column("password_hash", Text),
    Column("role", Text),
    Column("asked_from", Text),  # the address range of who typed them
    Column("lifetime_seconds", Float, nullable=False),
    time_column("requested_at", default_now=True),
    time_column("created_at", default_now=True),
    time_column("expires_at"),
    time_column("ended_at", nullable=True),
    UniqueConstraint("user_id", "purpose", "number"),
    CheckConstraint(one_of("purpose", LinkPurpose), name="purpose"),
    CheckConstraint(one_of("state", LinkState), name="state"),
    Index("uq_links_live", "user_id", "purpose", unique=True, postgresql_where=text("state = 'live'")),
    Index("ix_links_email_key", "email_key", "created_at"),
    Index("ix_links_created_at", "created_at"),
)

notices = Table(
    "notices",
    metadata,
    id_column(),
    Column("user_id", Text, ForeignKey("users.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("email", Text, nullable=False),  # the owner's address when it happened
    time_column("created_at", default_now=True),
    CheckConstraint(one_of("kind", NoticeKind), name="kind"),
    Index("ix_notices_user_id", "user_id", "kind", "created_at"),
    Index("ix_notices_created_at", "created_at"),
)

login_failures = Table(
    "login_failures",
    metadata,
    Column(
        "account_key", LargeBinary, nullable=False
    ),  # models.accounts.accounts.account_key, also of unknown addresses
    Column("address_range", Text, nullable=False),  # `*`: all ranges
    Column("failures", Integer, nullable=False),
    time_column("last_at", default_now=True),
    PrimaryKeyConstraint("account_key", "address_range"),
    Index("ix_login_failures_last_at", "last_at"),
)

api_keys = Table(
    "api_keys",
    metadata,
    id_column(),
    Column("name", Text, nullable=False),
    Column("hint", Text, nullable=False),  # its last characters
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("created_by", Text, nullable=False),
    time_column("created_at", default_now=True),
    time_column("expires_at", nullable=True),
    time_column("revoked_at", nullable=True),
    time_column("used_at", nullable=True),  # to the hour
)

customer_addresses = Table(
    "customer_addresses",
    metadata,
    id_column(),
    Column("user_id", Text, ForeignKey("users.id"), nullable=False),
    json_column("address"),
    time_column("created_at", default_now=True),
    Index("ix_customer_addresses_user_id", "user_id", "id"),
)

payment_methods = Table(
    "payment_methods",
    metadata,
    id_column(),
    Column("user_id", Text, ForeignKey("users.id"), nullable=False),
    Column("provider", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("token", Text, nullable=False),  # of the provider's form in the storefront
    Column("reference", Text),  # the provider's id of the saved method
    Column("setup", Text),  # the provider's id of the set-up
    json_column("card", nullable=True),  # {brand, last4, exp_month, exp_year}
    Column("card_fingerprint", Text),  # the provider's: the same for the same card number
    json_column("next_action", nullable=True),  # has the challenge's secret, for the owner's browser; NULL at the end
    time_column("action_expires_at", nullable=True),
    Column("decline_code", Text),
    Column("reason", Text),  # the slug of the error, if it was not saved
    Column("same_as", Text),  # the earlier row of the same card
    Column("key_digest", Text),
    Column("retryable", Boolean, nullable=False, server_default=text("false")),  # its Idempotency-Key can be used again
    Column("is_default", Boolean, nullable=False, server_default=text("false")),
    time_column("created_at", default_now=True),
    time_column("updated_at", default_now=True),
    CheckConstraint(one_of("state", PaymentMethodState), name="state"),
    Index("ix_payment_methods_user_id", "user_id", "id"),
    Index("ix_payment_methods_live", "updated_at", postgresql_where=text("state IN ('saving', 'requires_action')")),
    Index("ix_payment_methods_key_digest", "key_digest", postgresql_where=text("retryable")),
    Index(
        "uq_payment_methods_card",
        "user_id",
        "provider",
        "card_fingerprint",
        unique=True,
        postgresql_where=text("state = 'saved'"),
    ),
    Index(
        "uq_payment_methods_default", "user_id", unique=True, postgresql_where=text("is_default AND state = 'saved'")
    ),
)
