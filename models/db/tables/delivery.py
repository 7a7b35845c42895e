"""Tables of the outbox, messages, webhook events, stored responses, manual tasks and the audit log."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Identity,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from models.db.tables.base import id_column, json_column, metadata, one_of, time_column
from models.delivery.tasks import TaskOutcome

outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("consumer", Text),  # NULL: written by a build before named consumers
    Column("topic", Text, nullable=False),
    Column("aggregate", Text, nullable=False),
    json_column("data"),
    json_column("trace", nullable=True),  # W3C trace context of the publisher
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("error", Text),  # of the last attempt
    Column("claimed_by", Text),  # the relay that delivers it, until `due_at`
    time_column("due_at", default_now=True),
    time_column("created_at", default_now=True),
    Index("ix_outbox_consumer_due_at", "consumer", "due_at"),
    Index("ix_outbox_aggregate_consumer_id", "aggregate", "consumer", "id"),
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),  # the id that the row had in the outbox
    Column("consumer", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("aggregate", Text, nullable=False),
    json_column("data"),
    json_column("trace", nullable=True),
    Column("attempts", Integer, nullable=False),
    Column("error", Text, nullable=False),
    time_column("created_at"),
    time_column("dead_at", default_now=True),
)

NOTIFICATION_STATES = ("sending", "sent", "failed")

notifications = Table(
    "notifications",
    metadata,
    id_column(),
    Column("event", Text, nullable=False),  # the event that it is about: an order id and event version
    Column("topic", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("1")),
    time_column("sending_since", default_now=True),
    time_column("created_at", default_now=True),
    UniqueConstraint("event", "topic", "channel"),
    CheckConstraint(one_of("state", NOTIFICATION_STATES), name="state"),
)

webhook_events = Table(
    "webhook_events",
    metadata,
    Column("provider", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("subject", Text),  # the provider's id of the payment or set-up
    time_column("received_at", default_now=True),
    PrimaryKeyConstraint("provider", "event_id"),
    Index("ix_webhook_events_subject", "subject", postgresql_where=text("subject IS NOT NULL")),
)

# The stored response of a request with an Idempotency-Key, for 30 days.
kept_answers = Table(
    "kept_answers",
    metadata,
    Column("key_digest", Text, primary_key=True),  # hex SHA-256 of principal, route and key
    Column("fingerprint", Text, nullable=False),  # hex SHA-256 of the body
    Column("status", Integer),
    Column("body", Text),
    time_column("created_at", default_now=True),
    Index("ix_kept_answers_created_at", "created_at"),
)

tasks = Table(
    "tasks",
    metadata,
    id_column(),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", Text, nullable=False),
    time_column("opened_at", default_now=True),
    time_column("closed_at", nullable=True),
    Column("key", Text, unique=True),  # of the step that opened it: makes opening idempotent
    Column("workflow_id", Text),
    Column("resumes", Boolean, nullable=False, server_default=text("false")),  # its workflow waits for the outcome
    Column("outcome", Text),
    Column("note", Text),  # by the staff member who resolved it
    json_column("closed_by", nullable=True),
    CheckConstraint(one_of("outcome", TaskOutcome), name="outcome"),
    Index("ix_tasks_subject", "subject", "kind", "id"),  # open and closed
    Index("ix_tasks_open", "id", postgresql_where=text("closed_at IS NULL")),
    Index("uq_tasks_open", "kind", "subject", unique=True, postgresql_where=text("closed_at IS NULL")),
)

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    time_column("until"),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),  # without gaps
    time_column("at"),
    Column("actor_type", Text, nullable=False),  # customer, staff, machine, system
    Column("actor_id", Text),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    json_column("data"),  # no personal data: rows can't be erased
    Column("previous", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Index("ix_audit_log_subject", "subject", "number"),
    Index("ix_audit_log_actor_id", "actor_id", "number"),
)
