"""The words of mails about accounts."""

from __future__ import annotations

import pytest

from activities.templates.accounts import NOTICES, PATHS, duration, link_mail, notice_mail
from models.accounts.access import Role
from models.accounts.accounts import LinkPurpose, NoticeKind

URL = "https://shop.example"


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("purpose", list(LinkPurpose))
def test_a_link_stands_once_in_each_part(purpose, known):
    mail = link_mail(
        "msg_1",
        purpose,
        "ada@example.com",
        "s3cret_-",
        shop="Tea & <Co>",
        public_url=URL,
        lifetime_seconds=3600,
        known=known,
        role=Role.SUPPORT,
    )
    url = f"{URL}{PATHS[purpose]}?token=s3cret_-"
    assert mail.text.count(url) == mail.html.count(f'href="{url}"') == 1
    assert mail.text.count("token=") == mail.html.count("token=") == 1
    assert "60 minutes" in mail.text
    assert "Tea & <Co>" in mail.text
    assert "Tea &amp; &lt;Co&gt;" in mail.html
    assert "<Co>" not in mail.html
    assert mail.subject.startswith("Tea & <Co>: ")
    assert (mail.id, mail.to) == ("msg_1", "ada@example.com")


@pytest.mark.parametrize("kind", list(NoticeKind))
def test_a_notice_tells_and_asks_for_nothing(kind):
    mail = notice_mail("msg_1", kind, "ada@example.com", shop="Shop")
    assert "http" not in mail.text + mail.html
    assert len(mail.text) > 60


def test_every_kind_has_its_words():
    assert set(NOTICES) == set(NoticeKind)
    assert set(PATHS) == set(LinkPurpose)
    assert len({subject for subject, *_ in NOTICES.values()}) == len(NOTICES)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (5, "5 seconds"),
        (90, "90 seconds"),
        (120, "2 minutes"),
        (3600, "60 minutes"),
        (7199, "119 minutes"),
        (86_400, "24 hours"),
        (604_800, "7 days"),
    ],
)
def test_durations_are_never_longer_than_they_are(seconds, words):
    assert duration(seconds) == words
