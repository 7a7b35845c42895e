"""Access tokens: ours alone, in their time, for their purpose; and keys that can be rotated while the shop is open."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from pydantic import SecretStr

from activities.gateways.secrets import signing_key
from api.tokens import Tokens
from deploy.stack.ports import free_ports
from models.accounts.access import Role
from runtime.settings import Environment
from tests.fixtures.people import member
from tests.fixtures.shop import Api, slug

ABSENT = object()


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def parts(token):
    header, claims, signature = token.split(".")
    return json.loads(unb64(header)), json.loads(unb64(claims)), unb64(signature)


def forged(header, claims, sign):
    signed = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
    return f"{signed}.{b64(sign(signed.encode()))}"


def changed(given, changes):
    return {name: value for name, value in {**given, **changes}.items() if value is not ABSENT}


@dataclass
class Forge:
    """Ada's good token, and what a forger (or our own key, to show that only the one change matters) makes of it."""

    shop: object
    token: str
    key: Ed25519PrivateKey

    def resigned(self, header=None, claims=None):
        """By our own key."""
        good_header, good_claims, _ = parts(self.token)
        return forged(changed(good_header, header or {}), changed(good_claims, claims or {}), self.key.sign)

    def with_header(self, sign, **header):
        good_header, good_claims, _ = parts(self.token)
        return forged(changed(good_header, header), good_claims, sign)

    def public(self, encoding=Encoding.Raw, form=PublicFormat.Raw) -> bytes:
        return self.key.public_key().public_bytes(encoding, form)

    def status(self, token, url=None):
        answer = self.shop.http.get(
            f"{url or self.shop.url}/v1/me/sessions", headers={b"Authorization": b"Bearer " + token.encode()}
        )
        if answer.status_code == 401:
            assert slug(answer) == "unauthenticated"
            assert answer.headers["www-authenticate"].startswith("Bearer")
        return answer.status_code


@pytest.fixture(scope="module")
def forge(shop):
    ada = member(shop)
    ada.login()
    key = load_pem_private_key(signing_key(shop.settings).encode(), None)
    return Forge(shop, ada.last["access_token"], key)


def test_the_same_claims_signed_again_are_good(forge):
    """Without this, every refusal below could have another reason."""
    assert forge.status(forge.token) == 200
    assert forge.status(forge.resigned()) == 200


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", None, ABSENT])
def test_no_algorithm(forge, algorithm):
    assert forge.status(forge.with_header(lambda _: b"", alg=algorithm)) == 401


def test_no_algorithm_beside_a_good_signature(forge):
    assert forge.status(forge.with_header(forge.key.sign, alg="none")) == 401


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_key_confusion(forge, algorithm):
    """The public key is public: as the secret of an HMAC it must prove nothing."""
    digest = getattr(hashlib, f"sha{algorithm[2:]}")
    pem = forge.public(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64(forge.public())}
    der = forge.public(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for secret in (forge.public(), pem, pem.strip(), der, json.dumps(jwk).encode(), b64(forge.public()).encode(), b""):
        token = forge.with_header(lambda signed, secret=secret: hmac.digest(secret, signed, digest), alg=algorithm)
        assert forge.status(token) == 401


@pytest.mark.parametrize("algorithm", ["EdDSA", "Ed448", "RS256", "ES256", "ed25519", ["Ed25519"], 1])
def test_another_algorithm(forge, algorithm):
    assert forge.status(forge.with_header(forge.key.sign, alg=algorithm)) == 401


def test_a_key_that_the_token_brings_along(forge):
    """RFC 8725, 3.10: a header names no key of the forger's."""
    theirs = Ed25519PrivateKey.generate()
    raw = theirs.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64(raw), "kid": "theirs"}
    kid = parts(forge.token)[0]["kid"]
    for header in (
        {"jwk": jwk},
        {"jwk": jwk, "kid": "theirs"},
        {"jwk": jwk, "kid": ABSENT},
        {"jku": f"{forge.shop.settings.sandbox_url}/jwks.json"},
        {"jku": "https://evil.example/jwks.json", "kid": "theirs"},
        {"x5u": "https://evil.example/cert.pem"},
        {"x5c": [base64.b64encode(raw).decode()]},
        {"crit": ["exp"]},
        {"kid": kid},
    ):
        assert forge.status(forge.with_header(theirs.sign, **header)) == 401, header


@pytest.mark.parametrize(
    "kid",
    [
        ABSENT,
        None,
        "",
        "nobody",
        0,
        [],
        {},
        ["x"],
        "../../../../../../dev/null",
        "/proc/self/environ",
        "' OR 1=1 --",
        "x" * 5000,
    ],
)
def test_a_key_that_is_none_of_ours(forge, kid):
    for sign in (forge.key.sign, lambda signed: hmac.digest(b"", signed, hashlib.sha256)):
        assert forge.status(forge.with_header(sign, kid=kid)) == 401


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "another-api"},
        {"aud": []},
        {"aud": ABSENT},
        {"iss": "somebody"},
        {"iss": "Holdfast"},
        {"iss": ABSENT},
        {"exp": int(time.time()) - 1},
        {"exp": 0},
        {"exp": -1},
        {"exp": ABSENT},
        {"exp": None},
        {"exp": "soon"},
        {"exp": "99999999999"},
        {"exp": {}},
        {"iat": ABSENT},
        {"iat": int(time.time()) + 3600},
        {"nbf": int(time.time()) + 3600},
        {"sub": ABSENT},
        {"sub": ""},
        {"role": ABSENT},
        {"role": "root"},
        {"role": ["admin"]},
        {"sid": "ses_nobody"},
        {"sid": ""},
        {"sid": []},
    ],
    ids=lambda claims: "".join(claims),
)
def test_claims_that_do_not_hold(forge, claims):
    assert forge.status(forge.resigned(claims=claims)) == 401


@pytest.mark.parametrize("kind", ["JWT", "", ABSENT, None, "at+JWT ", "rt+jwt", ["at+jwt"], 1])
def test_another_purpose(forge, kind):
    assert forge.status(forge.resigned(header={"typ": kind})) == 401


def test_a_claimed_role_counts_for_nothing(forge):
    """What somebody may do is what the database says now."""
    token = forge.resigned(claims={"role": "admin", "sub": "usr_somebody_else"})

    answer = forge.shop.get("/v1/inventory/HF-TRAIL-JKT-S-RED", {"Authorization": f"Bearer {token}"})

    assert answer.status_code == 403


def test_one_flipped_bit_anywhere(forge):
    for number, part in enumerate(forge.token.split(".")):
        raw = unb64(part)
        for at in range(len(raw)):
            flipped = raw[:at] + bytes([raw[at] ^ 1 << at % 8]) + raw[at + 1 :]
            token = forge.token.split(".")
            token[number] = b64(flipped)
            assert forge.status(".".join(token)) == 401, (number, at)


def test_one_other_letter_anywhere(forge):
    """Also where Base64 has bits to spare: there is one way to write a token."""
    for at, letter in enumerate(forge.token):
        other = "B" if letter == "A" else "A"
        assert forge.status(forge.token[:at] + other + forge.token[at + 1 :]) == 401, at
    spare = chr(ord(forge.token[-1]) + 1)
    assert unb64(forge.token.rsplit(".", 1)[1]) == unb64(forge.token.rsplit(".", 1)[1][:-1] + spare)
    assert forge.status(forge.token[:-1] + spare) == 401


@pytest.mark.parametrize(
    "change",
    ["{0}.", ".{0}", "{0}=", "{0}.{0}", "{1}.{2}", "{1}..{3}", "{1}.{2}.", "{0} {0}", "a.b.c", "..", "."],
)
def test_what_is_no_token(forge, change):
    assert forge.status(change.format(forge.token, *forge.token.split("."))) == 401


def test_a_huge_token_is_refused_quickly(forge):
    began = time.perf_counter()

    assert forge.status("A" * 30_000 + "." + "A" * 10_000 + ".A") in (400, 401, 431)

    assert time.perf_counter() - began < 2


def test_the_end_of_its_time_is_the_end(shop):
    url = shop.api(access_token_seconds=1)
    ada = member(shop, url=url)
    ada.login()
    assert ada.call("GET", "/v1/me/sessions").status_code == 200

    time.sleep(2.05)  # whole seconds

    assert ada.call("GET", "/v1/me/sessions").status_code == 401
    answer = ada.call("POST", "/v1/auth/refresh", {"refresh_token": ada.refresh_token})
    assert answer.status_code == 200


def test_production_takes_no_token_without_a_session(shop):
    production = shop.api(env=Environment.PRODUCTION)
    ada = member(shop, url=production)
    ada.login()

    assert ada.call("GET", "/v1/me/sessions").status_code == 200
    made_by_hand = shop.http.get(f"{production}/v1/inventory/X", headers=shop.bearer(Role.ADMIN))
    assert made_by_hand.status_code == 401
    assert shop.get("/v1/inventory/X", shop.bearer(Role.ADMIN)).status_code == 404


# Keys


def pem_of(key) -> str:
    if hasattr(key, "public_bytes"):
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def with_keys(shop, pems) -> Api:
    changes = {"api_port": free_ports(1)[0], "signing_key": SecretStr(pems)}
    return Api(shop.settings.model_copy(update=changes))


def keys_of(shop, url):
    answer = shop.http.get(f"{url}/.well-known/jwks.json")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    return {key["kid"]: key for key in answer.json()["keys"]}


def test_anybody_can_check_a_token_with_the_published_keys(shop, forge):
    keys = keys_of(shop, shop.url)

    header, _, signature = parts(forge.token)
    key = keys[header["kid"]]
    signed = forge.token.rsplit(".", 1)[0].encode()
    Ed25519PublicKey.from_public_bytes(unb64(key["x"])).verify(signature, signed)  # raises
    assert (key["kty"], key["crv"], key["alg"], key["use"]) == ("OKP", "Ed25519", "Ed25519", "sig")
    assert all("d" not in key for key in keys.values())


def test_keys_are_rotated_while_tokens_live(shop):
    old, new = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    before, during, after = (
        with_keys(shop, "".join(pem_of(key) for key in keys)) for keys in ([old], [new, old.public_key()], [new])
    )
    try:
        ada = member(shop, url=before.url)
        bob = member(shop, url=during.url)
        signed_by_old = ada.login()
        signed_by_new = bob.login()
        (old_kid,), (new_kid,) = keys_of(shop, before.url), keys_of(shop, after.url)

        assert list(keys_of(shop, during.url)) == [new_kid, old_kid]
        assert parts(ada.last["access_token"])[0]["kid"] == old_kid
        assert parts(bob.last["access_token"])[0]["kid"] == new_kid
        good = {
            (api, kid): shop.http.get(f"{running.url}/v1/me/sessions", headers=headers).status_code
            for api, running in (("before", before), ("during", during), ("after", after))
            for kid, headers in (("old", signed_by_old), ("new", signed_by_new))
        }
        assert good == {
            ("before", "old"): 200,
            ("before", "new"): 401,
            ("during", "old"): 200,
            ("during", "new"): 200,
            ("after", "old"): 401,
            ("after", "new"): 200,
        }
        # A refresh token outlives the key: it is not signed.
        renewed = shop.http.post(f"{after.url}/v1/auth/refresh", json={"refresh_token": ada.refresh_token})
        assert parts(renewed.json()["access_token"])[0]["kid"] == new_kid
    finally:
        for running in (before, during, after):
            running.stop()


def test_what_signs_must_be_a_private_ed25519_key():
    private, other = Ed25519PrivateKey.generate(), rsa.generate_private_key(65537, 2048)
    public = pem_of(private.public_key())
    for pems in ("", "no PEM", public, public + pem_of(private), pem_of(other), pem_of(X25519PrivateKey.generate())):
        with pytest.raises(ValueError, match="HOLDFAST_SIGNING_KEY"):
            Tokens(pems, seconds=1)
    with pytest.raises(ValueError, match="HOLDFAST_SIGNING_KEY"):
        Tokens(pem_of(private) + pem_of(other.public_key()), seconds=1)
