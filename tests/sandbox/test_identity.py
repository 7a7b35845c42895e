"""The identity providers: discovery, the page, codes that are good once, ID tokens, and forged ones."""

import base64
import hashlib
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
STATE, NONCE = "s" * 32, "n" * 32
PATHS = {"google": ("/o/oauth2/v2/auth", "/token"), "facebook": ("/dialog/oauth", "/oauth/access_token")}
PERSON = {"subject": "1001", "email": "ada@example.com", "name": "Ada"}
both = pytest.mark.parametrize("provider", ["google", "facebook"])


def redirect(provider: str) -> str:
    return f"http://127.0.0.1:8000/v1/auth/oauth/{provider}/callback"


def authorize_url(sandbox: Any, provider: str, **changes: str | None) -> str:
    asked = {
        "client_id": f"sandbox-{provider}",
        "redirect_uri": redirect(provider),
        "response_type": "code",
        "scope": "openid email",
        "state": STATE,
        "nonce": NONCE,
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        **changes,
    }
    query = urlencode({name: value for name, value in asked.items() if value is not None})
    return f"{sandbox.url}/idp/{provider}{PATHS[provider][0]}?{query}"


def approve(sandbox: Any, provider: str, **more: Any) -> dict[str, str]:
    """What comes back to the shop with the browser."""
    body = {"authorize_url": authorize_url(sandbox, provider), **PERSON, **more}
    location = sandbox.control(f"/idp/{provider}/approve", body)["location"]
    assert location.startswith(redirect(provider) + "?")
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}


def exchange(sandbox: Any, provider: str, code: str, **changes: str) -> Any:
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect(provider),
        "code_verifier": VERIFIER,
        "client_id": f"sandbox-{provider}",
        "client_secret": f"sandbox-{provider}-secret",
        **changes,
    }
    return sandbox.http.post(f"{sandbox.url}/idp/{provider}{PATHS[provider][1]}", data=form)


def keys(sandbox: Any, provider: str) -> KeySet:
    path = {"google": "/oauth2/v3/certs", "facebook": "/.well-known/oauth/openid/jwks/"}[provider]
    return KeySet.import_key_set(sandbox.http.get(f"{sandbox.url}/idp/{provider}{path}").json())


def claims(sandbox: Any, provider: str, tokens: dict[str, Any]) -> dict[str, Any]:
    return jwt.decode(tokens["id_token"], keys(sandbox, provider), algorithms=["RS256"]).claims


def test_google_publishes_where_everything_is(sandbox: Any) -> None:
    found = sandbox.http.get(f"{sandbox.url}/idp/google/.well-known/openid-configuration").json()

    assert found["issuer"] == f"{sandbox.url}/idp/google"
    assert found["authorization_endpoint"] == authorize_url(sandbox, "google").split("?")[0]
    assert found["id_token_signing_alg_values_supported"] == ["RS256"]
    assert sandbox.http.get(f"{sandbox.url}/idp/facebook/.well-known/openid-configuration").status_code == 404


@both
def test_a_yes_becomes_a_code_and_the_code_tokens(sandbox: Any, provider: str) -> None:
    back = approve(sandbox, provider)
    assert back["state"] == STATE
    answer = exchange(sandbox, provider, back["code"])

    assert answer.status_code == 200
    found = claims(sandbox, provider, answer.json())
    assert found["iss"] == f"{sandbox.url}/idp/{provider}"
    assert (found["aud"], found["sub"], found["nonce"]) == (f"sandbox-{provider}", "1001", NONCE)
    assert found["exp"] - found["iat"] == 3600
    assert found.get("email_verified") is (True if provider == "google" else None)


def test_google_tells_about_the_person(sandbox: Any) -> None:
    tokens = exchange(sandbox, "google", approve(sandbox, "google", email_verified=False)["code"]).json()
    headers = {"authorization": f"Bearer {tokens['access_token']}"}
    told = sandbox.http.get(f"{sandbox.url}/idp/google/v1/userinfo", headers=headers).json()

    assert told == {"sub": "1001", "email": "ada@example.com", "email_verified": False, "name": "Ada"}
    assert sandbox.http.get(f"{sandbox.url}/idp/google/v1/userinfo").status_code == 401


@pytest.mark.parametrize("verified", [True, False])
def test_facebook_gives_what_is_asked_for_and_no_address_that_is_not_valid(sandbox: Any, verified: bool) -> None:
    tokens = exchange(sandbox, "facebook", approve(sandbox, "facebook", email_verified=verified)["code"]).json()
    headers = {"authorization": f"Bearer {tokens['access_token']}"}
    url = f"{sandbox.url}/idp/facebook/me"

    told = sandbox.http.get(url, params={"fields": "id,name,email"}, headers=headers).json()
    assert told == {"id": "1001", "name": "Ada", **({"email": "ada@example.com"} if verified else {})}
    assert sandbox.http.get(url, headers=headers).json() == {"id": "1001", "name": "Ada"}
    google = sandbox.http.get(f"{sandbox.url}/idp/google/v1/userinfo", headers=headers)
    assert google.status_code == 401


@both
def test_a_code_is_good_once_and_a_second_use_takes_back_what_it_gave(sandbox: Any, provider: str) -> None:
    code = approve(sandbox, provider)["code"]
    tokens = exchange(sandbox, provider, code).json()
    assert exchange(sandbox, provider, code).status_code == 400

    path = {"google": "/v1/userinfo", "facebook": "/me"}[provider]
    headers = {"authorization": f"Bearer {tokens['access_token']}"}
    assert sandbox.http.get(f"{sandbox.url}/idp/{provider}{path}", headers=headers).status_code == 401


@both
@pytest.mark.parametrize(
    "changes",
    [
        {"code": "made-up"},
        {"code_verifier": "w" * 43},
        {"redirect_uri": "http://127.0.0.1:8000/v1/auth/oauth/google/callback/"},
        {"client_secret": "wrong"},
        {"client_id": "another"},
        {"grant_type": "password"},
    ],
)
def test_a_code_is_bound_to_all_that_it_was_asked_with(sandbox: Any, provider: str, changes: dict[str, str]) -> None:
    code = approve(sandbox, provider)["code"]
    assert exchange(sandbox, provider, **{"code": code, **changes}).status_code in (400, 401)
    assert exchange(sandbox, provider, code).status_code == 200  # a failed try doesn't use it up


def test_a_code_of_one_is_nothing_to_the_other_and_nothing_after_its_time(sandbox: Any) -> None:
    assert exchange(sandbox, "facebook", approve(sandbox, "google")["code"]).status_code == 400
    late = approve(sandbox, "google")["code"]
    sandbox.control("/clock", {"advance_s": 601})
    assert exchange(sandbox, "google", late).json()["error"] == "invalid_grant"


def test_the_client_may_authenticate_by_header(sandbox: Any) -> None:
    code = approve(sandbox, "google")["code"]
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect("google"),
        "code_verifier": VERIFIER,
    }
    url = f"{sandbox.url}/idp/google/token"
    assert sandbox.http.post(url, data=form, auth=("sandbox-google", "wrong")).status_code == 401
    assert sandbox.http.post(url, data=form, auth=("sandbox-google", "sandbox-google-secret")).status_code == 200


@both
@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "another"},
        {"redirect_uri": "https://evil.example/v1/auth/oauth/google/callback"},
        {"redirect_uri": "http://127.0.0.1:8000/elsewhere"},
        {"response_type": "token"},
        {"scope": "email"},
        {"code_challenge": None},
        {"code_challenge_method": "plain"},
        {"state": None},
        {"nonce": None},
    ],
)
def test_what_is_not_asked_well_sends_nobody_anywhere(
    sandbox: Any, provider: str, changes: dict[str, str | None]
) -> None:
    url = authorize_url(sandbox, provider, **changes)
    assert sandbox.http.get(url).status_code in (400, 401)
    body = {"authorize_url": url, **PERSON}
    assert sandbox.http.post(f"{sandbox.url}/_sandbox/idp/{provider}/approve", json=body).status_code == 400


def test_a_person_can_say_no_and_the_answer_can_name_its_issuer(sandbox: Any) -> None:
    back = approve(sandbox, "google", error="access_denied", iss="https://issuer.example")
    assert back == {"state": STATE, "error": "access_denied", "iss": "https://issuer.example"}


def test_the_page_is_a_form_that_leads_back(sandbox: Any) -> None:
    url = authorize_url(sandbox, "google", login_hint='"><script>')
    page = sandbox.http.get(url)
    assert "Sign in" in page.text
    assert "<script>" not in page.text

    answer = sandbox.http.post(url, data={**PERSON, "email_verified": "true", "answer": "yes"})
    assert answer.status_code == 303
    code = parse_qs(urlsplit(answer.headers["location"]).query)["code"][0]
    assert claims(sandbox, "google", exchange(sandbox, "google", code).json())["email_verified"] is True
    assert "error=access_denied" in sandbox.http.post(url, data={"answer": "no"}).headers["location"]


@pytest.mark.parametrize(
    ("forge", "claim", "value"),
    [
        ("nonce", "nonce", "another"),
        ("no_nonce", "nonce", None),
        ("audience", "aud", "another-client"),
        ("second_audience", "aud", ["sandbox-google", "another-client"]),
        ("azp", "azp", "another-client"),
        ("issuer", "iss", "https://issuer.example"),
        ("no_expiry", "exp", None),
    ],
)
def test_forged_claims_are_well_signed(sandbox: Any, forge: str, claim: str, value: Any) -> None:
    tokens = exchange(sandbox, "google", approve(sandbox, "google", forge=forge)["code"]).json()
    assert claims(sandbox, "google", tokens).get(claim) == value


@pytest.mark.parametrize("forge", ["signature", "claims", "unknown_key", "alg_none", "hs256", "garbage"])
def test_forged_signatures_don_t_hold(sandbox: Any, forge: str) -> None:
    tokens = exchange(sandbox, "google", approve(sandbox, "google", forge=forge)["code"]).json()
    with pytest.raises((JoseError, ValueError)):
        claims(sandbox, "google", tokens)


def test_no_id_token_at_all(sandbox: Any) -> None:
    tokens = exchange(sandbox, "google", approve(sandbox, "google", forge="missing")["code"]).json()
    assert "id_token" not in tokens


@pytest.mark.parametrize("body", [{"subject": None}, {"forge": "everything"}, {"error": "No Way!"}, {"colour": "red"}])
def test_senseless_orders(sandbox: Any, body: dict[str, Any]) -> None:
    asked = {"authorize_url": authorize_url(sandbox, "google"), **PERSON, **body}
    assert sandbox.http.post(f"{sandbox.url}/_sandbox/idp/google/approve", json=asked).status_code == 400


def test_scripts_meet_it_like_everybody(sandbox: Any) -> None:
    sandbox.script({"kind": "status_before", "status": 500}, service="idp", path="/idp/google/token")
    code = approve(sandbox, "google")["code"]
    assert exchange(sandbox, "google", code).status_code == 500
    assert exchange(sandbox, "google", code).status_code == 200
    sandbox.script({"kind": "status_after", "status": 503}, service="idp", metadata={"provider": "facebook"})
    code = approve(sandbox, "facebook")["code"]
    assert exchange(sandbox, "facebook", code).status_code == 503
    assert exchange(sandbox, "facebook", code).status_code == 400


def test_calls_are_logged_and_a_reset_forgets(sandbox: Any) -> None:
    code = approve(sandbox, "google")["code"]
    exchange(sandbox, "google", code)
    [call] = sandbox.seen("/calls?service=idp")
    assert (call["path"], call["status"], call["metadata"]) == ("/idp/google/token", 200, {"provider": "google"})

    code = approve(sandbox, "google")["code"]
    sandbox.control("/reset")
    assert exchange(sandbox, "google", code).status_code == 400


def test_keys_can_be_changed(sandbox: Any) -> None:
    old = keys(sandbox, "google")
    kid = sandbox.control("/idp/google/rotate-keys")["kid"]
    tokens = exchange(sandbox, "google", approve(sandbox, "google")["code"]).json()
    with pytest.raises(JoseError):
        jwt.decode(tokens["id_token"], old, algorithms=["RS256"])
    assert jwt.decode(tokens["id_token"], keys(sandbox, "google"), algorithms=["RS256"]).header["kid"] == kid
