"""ID tokens, signed RS256, and forged ones for tests."""

import base64
import hashlib
import hmac
import json
from typing import Any

from joserfc import jwt
from joserfc.jwk import RSAKey

from sandbox.store import Row, Store

LIVES = 3600  # seconds, an ID token
FORGERIES = frozenset(
    {
        "nonce", "no_nonce", "audience", "second_audience", "azp", "issuer", "expired", "no_expiry", "at_hash",
        "signature", "claims", "unknown_key", "alg_none", "hs256", "missing", "garbage", "subject",
    }
)  # fmt: skip


class Signer:
    """One key per provider, created on first use; it survives a reset, because creating one is slow."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._keys: dict[str, RSAKey] = {}

    def public_keys(self, provider: str) -> Row:
        """The provider's JWK Set."""
        key = self._key(provider)
        return {"keys": [{**key.as_dict(private=False), "kid": key.kid, "use": "sig", "alg": "RS256"}]}

    def id_token(self, provider: str, claims: Row, access_token: str, forge: str | None) -> str | None:
        """Signed, or forged as requested; None where the test asks for no token."""
        key = self._key(provider)
        claims = {**claims, "at_hash": _half_hash(access_token)}
        if forge in _CHANGED:
            claims = {name: value for name, value in {**claims, **_CHANGED[forge](claims)}.items() if value is not None}
        if forge == "missing":
            return None
        if forge == "garbage":
            return "not.a.token"
        if forge == "alg_none":
            return f"{_part({'alg': 'none', 'kid': key.kid})}.{_part(claims)}."
        if forge == "hs256":  # the public key used as an HMAC secret
            text = f"{_part({'alg': 'HS256', 'kid': key.kid})}.{_part(claims)}"
            return f"{text}.{_base64(hmac.digest(key.as_pem(private=False), text.encode(), 'sha256'))}"
        signer, kid = key, key.kid
        if forge in ("signature", "unknown_key"):
            signer = RSAKey.generate_key(2048)
            kid = key.kid if forge == "signature" else "nobodys"
        token = jwt.encode({"alg": "RS256", "kid": kid}, claims, signer, algorithms=["RS256"])
        if forge == "claims":
            head, _, signature = token.split(".")
            return f"{head}.{_part({**claims, 'email': 'somebody.else@example.com'})}.{signature}"
        return token

    def _key(self, provider: str) -> RSAKey:
        row = self._store.get("idp_keys", provider)
        if provider not in self._keys:
            jwk = row["jwk"] if row else self._new(f"{provider}-1")
            self._keys[provider] = RSAKey.import_key(jwk)
        if row is None:
            self._keep(provider)
        return self._keys[provider]

    def rotate(self, provider: str) -> str:
        """Signs with a new key from now on and publishes only that; returns its id."""
        number = int(str(self._key(provider).kid).rpartition("-")[2])
        self._keys[provider] = RSAKey.import_key(self._new(f"{provider}-{number + 1}"))
        self._keep(provider)
        return str(self._keys[provider].kid)

    def _new(self, kid: str) -> Row:
        return {**RSAKey.generate_key(2048).as_dict(private=True), "kid": kid}

    def _keep(self, provider: str) -> None:
        self._store.put("idp_keys", provider, {"jwk": self._keys[provider].as_dict(private=True)})


_CHANGED: dict[str | None, Any] = {
    "nonce": lambda claims: {"nonce": "another"},
    "no_nonce": lambda claims: {"nonce": None},
    "audience": lambda claims: {"aud": "another-client"},
    "second_audience": lambda claims: {"aud": [claims["aud"], "another-client"], "azp": None},
    "azp": lambda claims: {"azp": "another-client"},
    "issuer": lambda claims: {"iss": "https://issuer.example"},
    "expired": lambda claims: {"iat": claims["iat"] - 2 * LIVES, "exp": claims["iat"] - LIVES},
    "no_expiry": lambda claims: {"exp": None},
    "at_hash": lambda claims: {"at_hash": _half_hash("another")},
}


def _half_hash(value: str) -> str:
    """OpenID Connect Core, 3.1.3.6."""
    return _base64(hashlib.sha256(value.encode()).digest()[:16])


def _part(value: Row) -> str:
    return _base64(json.dumps(value).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
