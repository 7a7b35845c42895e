"""Sends mails about accounts: links while they are live, and notices to the owner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from temporalio import activity

from activities.templates.accounts import link_mail, notice_mail
from models.accounts.accounts import Link, LinkState, NoticeKind
from models.delivery.mails import EmailMessage
from models.errors import NotFound

if TYPE_CHECKING:
    from activities.delivery.mail_once import MailOnce
    from activities.gateways.secrets import Vault
    from models.db.session import Database


class Accounts:
    def __init__(self, database: Database, mails: MailOnce, vault: Vault, *, shop: str, public_url: str) -> None:
        from models.db.repositories.accounts import links, notices, users

        self._database = database
        self._mails = mails
        self._vault = vault
        self._shop = shop
        self._public_url = public_url
        self._links = links
        self._notices = notices
        self._users = users

    @activity.defn
    def send_link(self, link: Link) -> str:
        """As MailOnce.send; or the state of the link, which is not sent unless it is live.

        The secret of the link is derived here: no database and no history has it, and a repeated mail carries the
        same one. Raises NotFound.
        """
        with self._database.autocommit() as connection:
            stored = self._links.read(connection, link.id)
            user = self._users.read_user(connection, link.user_id)
        if stored is None or user is None:
            raise NotFound(f"There is no link {link.id}")
        if stored.state is not LinkState.LIVE:
            return stored.state
        email, role, known = stored.email, stored.role, user.verified

        def compose(message_id: str) -> EmailMessage:
            return link_mail(
                message_id,
                link.purpose,
                email,
                self._vault.link_token(link.id),
                shop=self._shop,
                public_url=self._public_url,
                lifetime_seconds=link.lifetime_seconds,
                known=known,
                role=role,
            )

        return self._mails.send(link.id, link.purpose, link.id, compose)

    @activity.defn
    def expire_link(self, link: Link) -> LinkState:
        """Expires the link unless it has ended; returns its final state. Raises NotFound."""
        with self._database.transaction() as connection:
            state = self._links.expire(connection, link.id)
        if state is None:
            raise NotFound(f"There is no link {link.id}")
        return state

    @activity.defn
    def notify_password_reset(self, link: Link) -> str:
        """As MailOnce.send, to the address that the link was sent to. Raises NotFound."""
        with self._database.autocommit() as connection:
            stored = self._links.read(connection, link.id)
        if stored is None:
            raise NotFound(f"There is no link {link.id}")
        email = stored.email

        def compose(message_id: str) -> EmailMessage:
            return notice_mail(message_id, NoticeKind.PASSWORD_CHANGED, email, shop=self._shop)

        return self._mails.send(link.id, NoticeKind.PASSWORD_CHANGED, link.user_id, compose)

    def send_notice(self, notice_id: str) -> str:
        """As MailOnce.send; a plain method, because the outbox delivers each message as a step of its own."""
        with self._database.autocommit() as connection:
            notice = self._notices.read_notice(connection, notice_id)
        if notice is None:  # the account has been erased
            return "failed"
        kind, email = notice.kind, notice.email

        def compose(message_id: str) -> EmailMessage:
            return notice_mail(message_id, kind, email, shop=self._shop)

        return self._mails.send(notice.id, notice.kind, notice.user_id, compose)
