"""Headers of every response: nothing is cached, framed, sniffed or told elsewhere unless a route says otherwise.

Sources: OWASP Secure Headers Project, and for `no-store` RFC 9111, 5.2.2.5.
"""

from __future__ import annotations

from collections.abc import Iterable

Header = tuple[bytes, bytes]

DEFAULTS: tuple[Header, ...] = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)
HTTPS: Header = (b"strict-transport-security", b"max-age=63072000; includeSubDomains")

# The viewers of the API's document, which a production does not serve, hold a script and styles of their own.
VIEWERS = ("/docs", "/redoc")
VIEWER_POLICY = (
    b"default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    b" worker-src blob:; frame-ancestors 'none'"
)


def defaults(*, https: bool) -> tuple[Header, ...]:
    """`https`: buyers come by TLS, so browsers are told to stay with it."""
    return (*DEFAULTS, HTTPS) if https else DEFAULTS


def missing(given: Iterable[Header], wanted: tuple[Header, ...], path: str) -> list[Header]:
    """Those of the defaults that a response does not have."""
    names = {name.lower() for name, _ in given}
    found = [header for header in wanted if header[0] not in names]
    if path.startswith(VIEWERS):
        found = [(name, VIEWER_POLICY if name == b"content-security-policy" else value) for name, value in found]
    return found
