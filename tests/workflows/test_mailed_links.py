"""The processes behind mailed links, on a real Temporal: what operators see, and what happens when they step in."""

from __future__ import annotations

import time

import pytest
from temporalio.client import WorkflowExecutionStatus

from models.accounts.accounts import LinkPurpose, LinkState
from models.ids import link_workflow
from tests.fixtures.mailbox import Mailbox, make_link, use_link
from tests.fixtures.people import member
from tests.fixtures.shop import eventually


@pytest.fixture
def link(shop):
    """A reset's, whose mail has been sent."""
    made = make_link(shop, LinkPurpose.PASSWORD_RESET)
    sent(shop, made)
    return made


def sent(shop, link):
    return eventually(lambda: shop.sql("SELECT 1 FROM notifications WHERE event = :id AND state = 'sent'", id=link.id))


def story(link):
    return link_workflow(link.purpose, link.user_id, link.number)


def handled(shop, link, ask):
    return shop.temporal(lambda client: ask(client.get_workflow_handle(story(link))))


def state(shop, link):
    return shop.sql("SELECT state FROM links WHERE id = :id", id=link.id)[0].state


def listed(shop, query):
    async def ask(client):
        return [found.id async for found in client.list_workflows(query)]

    return shop.temporal(ask)


class TestWhatOperatorsSee:
    def test_it_is_found_by_person_and_state(self, shop, link):
        query = f'UserId = "{link.user_id}" AND LinkState = "{{}}"'
        assert eventually(lambda: listed(shop, query.format("live"))) == [story(link)]
        use_link(shop, link)
        assert eventually(lambda: listed(shop, query.format("used"))) == [story(link)]
        assert listed(shop, query.format("live")) == []

    def test_words_say_what_it_is_and_where(self, shop, link):
        async def words(handle):
            found = await handle.query("__temporal_workflow_metadata")
            return await (await handle.describe()).static_summary(), found

        summary, found = handled(shop, link, words)
        assert summary == "Reset of a password"
        details = found.get("currentDetails", "") if isinstance(found, dict) else found.current_details
        assert details == "Sent: waiting for its reader"

    @pytest.mark.parametrize("purpose", list(LinkPurpose))
    def test_the_result_is_how_it_ended(self, shop, purpose):
        made = make_link(shop, purpose)
        sent(shop, made)
        use_link(shop, made)
        assert handled(shop, made, lambda handle: handle.result()) == LinkState.USED

    @pytest.mark.parametrize("purpose", list(LinkPurpose))
    def test_an_end_by_time_is_written_down(self, shop, purpose):
        made = make_link(shop, purpose, seconds=0.6)
        eventually(lambda: state(shop, made) == LinkState.EXPIRED)
        assert handled(shop, made, lambda handle: handle.result()) == LinkState.EXPIRED

    def test_a_link_at_once_is_a_handful_of_events(self, shop, link):
        async def types(handle):
            return [event.WhichOneof("attributes") for event in (await handle.fetch_history()).events]

        found = handled(shop, link, types)
        assert found.count("workflow_task_scheduled_event_attributes") == 1
        assert "activity_task_scheduled_event_attributes" not in found


class TestSteppingIn:
    def test_a_link_whose_process_was_terminated_is_good_all_the_same(self, shop):
        reader = Mailbox(shop, member(shop).email)
        reader.forgot()
        token = reader.token("choose a new password")
        ((user_id,),) = shop.sql("SELECT id FROM users WHERE email = :email", email=reader.email)
        workflow_id = link_workflow(LinkPurpose.PASSWORD_RESET, user_id, 1)
        shop.temporal(lambda client: client.get_workflow_handle(workflow_id).terminate())
        assert reader.reset(token, "an entirely different phrase").status_code == 204
        eventually(lambda: not shop.sql("SELECT 1 FROM outbox WHERE topic LIKE 'link.%'"))

    def test_cancelling_one_ends_it(self, shop, link):
        handled(shop, link, lambda handle: handle.cancel())

        async def status(handle):
            return (await handle.describe()).status

        eventually(lambda: handled(shop, link, status) is WorkflowExecutionStatus.CANCELED)
        assert state(shop, link) == LinkState.LIVE

    def test_one_that_ended_before_it_was_begun_is_not_mailed(self, shop):
        with shop.without(*shop.workers):
            made = make_link(shop, LinkPurpose.INVITATION)
            use_link(shop, made)
        assert eventually(lambda: result_of(shop, made), within=60) == LinkState.USED
        assert shop.sql("SELECT 1 FROM notifications WHERE event = :id", id=made.id) == []

    def test_a_mail_that_is_refused_for_good_becomes_a_task(self, shop, world):
        reader = Mailbox(shop)
        world.script_mail(reader.email, {"kind": "status_before", "status": 400})
        reader.register()
        rows = eventually(lambda: shop.sql("SELECT id FROM links WHERE email = :email", email=reader.email))
        eventually(lambda: shop.tasks(rows[0].id) == ["mail-refused"])
        assert reader.mails() == []

    def test_a_lost_answer_is_settled_by_the_providers_own_word(self, shop, world):
        reader = Mailbox(shop)
        world.script_mail(reader.email, {"kind": "status_after", "status": 500})
        reader.register()
        reader.mail()
        time.sleep(shop.settings.mail_unknown_seconds + 1)
        assert len(reader.mails()) == 1


def result_of(shop, link):
    """None while it runs or has not begun."""
    found = listed(shop, f'WorkflowId = "{story(link)}" AND ExecutionStatus = "Completed"')
    return handled(shop, link, lambda handle: handle.result()) if found else None
