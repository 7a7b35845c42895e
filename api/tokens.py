"""Access tokens: JWTs signed with Ed25519 (RFC 7519, 9864), checked for issuer, audience, purpose and time."""

from __future__ import annotations

import os
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from joserfc.jwt import JWTClaimsRegistry

from models.access import Principal, Role
from models.errors import Unauthenticated
from models.settings import Settings

ISSUER = "holdfast"
AUDIENCE = "holdfast-api"
ALGORITHM = "Ed25519"  # RFC 9864: EdDSA, fully specified
TYPE = "at+jwt"  # RFC 9068
ALGORITHM = "Ed25519"
KEY_FILE = "keys/signing.pem"


class Tokens:
    """Signs and checks with one Ed25519 key."""

    def __init__(self, pem: str, *, seconds: float) -> None:
        self._key = OKPKey.import_key(pem)
        self._seconds = seconds
        self._kid = self._key.thumbprint()
        self._claims = JWTClaimsRegistry(
            iss={"essential": True, "value": ISSUER},
            aud={"essential": True, "value": AUDIENCE},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
        )

    @classmethod
    def of(cls, settings: Settings) -> Tokens:
        """With the configured key; outside production one is made in the data folder, once."""
        pem = settings.signing_key.get_secret_value() or _development_key(settings.data_dir / KEY_FILE)
        return cls(pem, seconds=settings.access_token_seconds)

    def issue(self, principal: Principal) -> str:
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": principal.user_id,
            "role": principal.role.value,
            "iat": now,
            "exp": now + int(self._seconds),
        }
        return jwt.encode({"alg": ALGORITHM, "typ": TYPE, "kid": self._kid}, claims, self._key, algorithms=[ALGORITHM])

    def check(self, token: str) -> Principal:
        """Who the token speaks for. Raises Unauthenticated for anything but a live access token of ours."""
        try:
            decoded = jwt.decode(token, self._key, algorithms=[ALGORITHM])
            if decoded.header.get("typ") != TYPE or decoded.header.get("kid") != self._kid:
                raise Unauthenticated("The token is not an access token")
            self._claims.validate(decoded.claims)
            return Principal(user_id=str(decoded.claims["sub"]), role=Role(decoded.claims.get("role", "")))
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise Unauthenticated("The token is not valid") from error


def _development_key(path: Path) -> str:
    """Made by whichever process comes first; the others read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        draft = path.with_suffix(f".{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_bytes(pem)
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text()
