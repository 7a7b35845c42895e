"""Mail texts about an account: plain text, and the same in HTML.

They contain nothing that a stranger typed (a name, say); only mails that need a link have one.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from models.accounts.access import Role
from models.accounts.accounts import LinkPurpose, NoticeKind
from models.delivery.mails import EmailMessage

PATHS = {
    LinkPurpose.EMAIL_VERIFICATION: "/verify-email",
    LinkPurpose.PASSWORD_RESET: "/reset-password",
    LinkPurpose.INVITATION: "/accept-invitation",
}

NOT_YOU = "If that was not you, reset your password now, and look at where you are signed in."

NOTICES = {
    NoticeKind.ACCOUNT_EXISTS: (
        "you already have an account",
        "Somebody tried to register with your e-mail address. You have an account already, and nothing about it has"
        " changed.",
        "If that was you, sign in as before; if you have forgotten your password, ask for a new one. If it was not,"
        " there is nothing for you to do.",
    ),
    NoticeKind.ADDRESS_CHANGE_REQUESTED: (
        "a change of your e-mail address",
        "A change of your account's e-mail address was asked for. It takes effect once the new address is confirmed.",
        NOT_YOU,
    ),
    NoticeKind.ADDRESS_CHANGED: (
        "your e-mail address was changed",
        "Your account's e-mail address was changed: this one no longer belongs to it.",
        "If that was not you, write to us.",
    ),
    NoticeKind.PASSWORD_CHANGED: (
        "your password was changed",
        "The password of your account was changed.",
        NOT_YOU,
    ),
    NoticeKind.PASSWORD_MUST_BE_RESET: (
        "please choose a new password",
        "There were very many attempts to sign in to your account with wrong passwords. To keep it safe, no password"
        " opens it until you have chosen a new one.",
        "Ask for a new password where you sign in: we then send you a link.",
    ),
    NoticeKind.SIGNED_IN_ELSEWHERE_LINKED: (
        "a new way to sign in",
        "Your account can now be opened with a Google or Facebook account that has your e-mail address.",
        NOT_YOU,
    ),
    NoticeKind.ROLE_CHANGED: (
        "your role was changed",
        "What you may do with your account was changed. Sign in again to go on.",
        "If you did not expect this, ask whoever runs the shop.",
    ),
}


def link_mail(
    message_id: str,
    purpose: LinkPurpose,
    to: str,
    token: str,
    *,
    shop: str,
    public_url: str,
    lifetime_seconds: float,
    known: bool,
    role: Role | None,
) -> EmailMessage:
    """A mail with a link. `known`: the account exists, and the link changes it. `lifetime_seconds`: of the link."""
    url = f"{public_url}{PATHS[purpose]}?token={token}"
    good_for = f"The link is good once, for {duration(lifetime_seconds)}."
    subject, before, label, after = _link_texts(purpose, known=known, role=role, shop=shop)
    return _message(message_id, to, f"{shop}: {subject}", [before], [good_for, after], shop, link=(label, url))


def _link_texts(purpose: LinkPurpose, *, known: bool, role: Role | None, shop: str) -> tuple[str, str, str, str]:
    """Subject, text before the link, label of the link, text after it."""
    if purpose is LinkPurpose.PASSWORD_RESET:
        return (
            "choose a new password",
            "A new password was asked for. To choose one, follow this link:",
            "Choose a new password",
            "If you did not ask for it, ignore this mail: nothing has changed.",
        )
    if purpose is LinkPurpose.INVITATION:
        return (
            "you are invited",
            f"You are invited to work at {shop} ({role}). To accept, follow this link:",
            "Accept the invitation",
            "If you don't know what this is about, ignore this mail.",
        )
    if known:
        return (
            "confirm your new e-mail address",
            "This address is to become the address of an account. To confirm that it is yours, follow this link:",
            "Confirm this address",
            "If you did not ask for it, ignore this mail: nothing changes.",
        )
    return (
        "confirm your e-mail address",
        "An account was asked for with this address. To confirm that you asked for it, follow this link:",
        "Confirm this address",
        "If you did not ask for it, do not follow the link, and no account is made.",
    )


def notice_mail(message_id: str, kind: NoticeKind, to: str, *, shop: str) -> EmailMessage:
    """A mail without a link."""
    subject, *paragraphs = NOTICES[kind]
    return _message(message_id, to, f"{shop}: {subject}", paragraphs, [], shop)


def duration(seconds: float) -> str:
    """`24 hours`, `90 minutes`, `60 minutes`, `5 seconds`; rounded down."""
    for name, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {name}"
    return f"{int(seconds)} seconds"


def _message(
    message_id: str,
    to: str,
    subject: str,
    before: Sequence[str],
    after: Sequence[str],
    shop: str,
    link: tuple[str, str] | None = None,
) -> EmailMessage:
    text = [*before, *([link[1]] if link else []), *after, shop]
    html = [f"<p>{escape(paragraph)}</p>" for paragraph in (*before, *after, shop)]
    if link:
        html.insert(len(before), f'<p><a href="{escape(link[1])}">{escape(link[0])}</a></p>')
    return EmailMessage(id=message_id, to=to, subject=subject, text="\n\n".join(text), html="".join(html))
