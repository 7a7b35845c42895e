"""Access tokens: JWTs signed with Ed25519 (RFC 7519, 9068, 9864), checked for issuer, audience, purpose and time."""

from __future__ import annotations

import re
import time
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from joserfc.jwt import JWTClaimsRegistry

from activities.gateways.secrets import signing_key
from models.accounts.access import Principal, Role
from models.errors import Unauthenticated
from runtime.settings import Settings

ISSUER = "holdfast"
AUDIENCE = "holdfast-api"
ALGORITHM = "Ed25519"  # RFC 9864: EdDSA, fully specified
TYPE = "at+jwt"  # RFC 9068

_PEM = re.compile(r"-----BEGIN [A-Z ]+-----.+?-----END [A-Z ]+-----", re.DOTALL)


class Tokens:
    """Signs with the first key and verifies with all of them; the further keys are those being rotated out."""

    def __init__(self, pems: str, *, seconds: float) -> None:
        keys = _ed25519(pems)
        self._keys = {key.thumbprint(): key for key in keys}
        self._kid, self._key = next(iter(self._keys.items()))
        self.seconds = seconds
        self._claims = JWTClaimsRegistry(
            iss={"essential": True, "value": ISSUER},
            aud={"essential": True, "value": AUDIENCE},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
        )

    @classmethod
    def of(cls, settings: Settings) -> Tokens:
        return cls(signing_key(settings), seconds=settings.access_token_seconds)

    def issue(self, principal: Principal) -> str:
        """An access token for that user and session. Without a session it is a development token
        (deploy/cli/tokens.py).
        """
        assert principal.role is not None, "machines have API keys"
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": principal.user_id,
            "role": principal.role.value,
            "iat": now,
            "exp": now + int(self.seconds),
        }
        if principal.session_id is not None:
            claims["sid"] = principal.session_id
        return jwt.encode({"alg": ALGORITHM, "typ": TYPE, "kid": self._kid}, claims, self._key, algorithms=[ALGORITHM])

    def check(self, token: str) -> Principal:
        """The principal that the token names. Raises Unauthenticated unless it is a valid access token."""
        try:
            decoded = jwt.decode(token, self._key_of, algorithms=[ALGORITHM])
            if decoded.header.get("typ") != TYPE:
                raise Unauthenticated("The token is not an access token")
            claims = decoded.claims
            self._claims.validate(claims)
            session = claims.get("sid")
            return Principal(
                user_id=str(claims["sub"]),
                role=Role(claims.get("role", "")),
                session_id=None if session is None else str(session),
            )
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise Unauthenticated("The token is not valid") from error

    def public_keys(self) -> dict[str, Any]:
        """A JWK Set (RFC 7517) for verifying our tokens."""
        return {
            "keys": [
                {**key.as_dict(private=False), "kid": kid, "use": "sig", "alg": ALGORITHM}
                for kid, key in self._keys.items()
            ]
        }

    def _key_of(self, held: Any) -> OKPKey:
        """The key that the token's `kid` header names, among ours; no other header field selects a key."""
        return self._keys[held.headers()["kid"]]


def _ed25519(pems: str) -> list[OKPKey]:
    """Raises ValueError unless they are Ed25519 keys, the first a private one."""
    try:
        keys = [OKPKey.import_key(pem) for pem in _PEM.findall(pems)]
    except (JoseError, ValueError, TypeError) as error:
        raise ValueError("HOLDFAST_SIGNING_KEY holds a PEM that is no Ed25519 key") from error
    if not keys or not keys[0].is_private or any(key.curve_name != "Ed25519" for key in keys):
        raise ValueError("HOLDFAST_SIGNING_KEY must be Ed25519 keys as PEM, first the private one that signs")
    return keys
