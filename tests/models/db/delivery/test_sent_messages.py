"""Mails and webhooks in the books: claimed once, stored once, and the provider's word is the last."""

from __future__ import annotations

import pytest

from models.db.repositories.delivery import sent_messages, tasks
from models.delivery.tasks import OpenTask
from models.ids import new_id


@pytest.fixture
def books(shop):
    """A transaction that is taken back."""
    with shop.engine.connect().execution_options(isolation_level="READ COMMITTED") as connection:
        connection.begin()
        yield connection
        connection.rollback()


def begin(books, event, unknown=60.0):
    return sent_messages.begin_sending(books, event, "order_confirmed", "email", unknown)


class TestSending:
    def test_is_claimed_once(self, books):
        event = new_id("evt")
        first, second = begin(books, event), begin(books, event)
        assert (first.may_send, second.may_send, second.state) == (True, False, "sending")
        assert first.id == second.id

    def test_is_ours_again_when_its_outcome_stays_unknown(self, books):
        event = new_id("evt")
        first = begin(books, event)
        assert begin(books, event, unknown=-1).may_send
        assert begin(books, event, unknown=-1).id == first.id

    def test_is_ours_at_once_when_the_provider_was_not_reached(self, books):
        event = new_id("evt")
        sent_messages.not_sent(books, begin(books, event).id)
        assert begin(books, event).may_send

    def test_is_over_once_it_is_settled(self, books):
        event = new_id("evt")
        message = begin(books, event)
        sent_messages.end_sending(books, message.id, "sent")
        sent_messages.end_sending(books, message.id, "failed")
        sent_messages.not_sent(books, message.id)
        again = begin(books, event, unknown=-1)
        assert (again.may_send, again.state) == (False, "sent")

    def test_of_another_topic_is_another(self, books):
        event = new_id("evt")
        begin(books, event)
        assert sent_messages.begin_sending(books, event, "order_shipped", "email", 60).may_send


class TestTasks:
    def test_one_is_open_per_kind_and_subject(self, shop):
        subject = new_id("ord")
        with shop.engine.connect() as connection:
            for kind in ("a", "a", "b"):
                tasks.open_task(connection, OpenTask(kind=kind, subject=subject, detail="x"))
        assert shop.tasks(subject) == ["a", "b"]
