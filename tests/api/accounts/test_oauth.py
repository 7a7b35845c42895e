"""Signing in with Google or Facebook: linked by verified addresses alone, and nothing forged, replayed or mixed up."""

from __future__ import annotations

import asyncio
import uuid
from urllib.parse import parse_qs, urlsplit

import httpx
import pyotp
import pytest
from pydantic import SecretStr

from activities.gateways import identity
from activities.gateways.identity import IdentityProviders
from activities.gateways.secrets import Vault
from models.accounts.access import Role
from models.accounts.accounts import email_key
from models.accounts.identities import ProviderName
from models.errors import SignInUnavailable
from runtime.settings import Environment
from tests.fixtures.people import member
from tests.fixtures.shop import at_once, eventually, slug

both = pytest.mark.parametrize("provider", ["google", "facebook"])


class Browser:
    """Somebody with a cookie jar."""

    def __init__(self, shop, provider="google", url=None):
        self.shop = shop
        self.provider = provider
        self.url = url or shop.url
        self.http = httpx.Client(verify=False, timeout=30, headers={"User-Agent": "Firefox"})

    def set_out(self):
        answer = self.http.get(f"{self.url}/v1/auth/oauth/{self.provider}/authorize")
        assert answer.status_code == 302, answer.text
        return answer.headers["location"]

    def say(self, authorize_url, **more):
        """What the person answers at the provider; where the browser is sent then."""
        body = {"authorize_url": authorize_url, **more}
        return self.shop.world.post(f"/idp/{self.provider}/approve", **body)["location"]

    def sign_in(self, person, **more):
        return self.http.get(self.say(self.set_out(), **person, **more))


@pytest.fixture
def browser(shop):
    made = []

    def new(*args, **more):
        made.append(Browser(shop, *args, **more))
        return made[-1]

    yield new
    for one in made:
        one.http.close()


def somebody(**changes):
    """A person as the provider knows them."""
    number = uuid.uuid4().hex[:12]
    return {"subject": f"s{number}", "email": f"Olga.{number}@example.com", "name": "Olga Outside", **changes}


def accounts(shop, person):
    key = email_key(person["email"])
    return shop.sql("SELECT u.*, (u.verified_at IS NOT NULL) AS verified FROM users u WHERE email_key = :k", k=key)


def identities(shop, person):
    rows = shop.sql(
        "SELECT provider, user_id FROM identities WHERE subject = :s ORDER BY provider", s=person["subject"]
    )
    return [(row.provider, row.user_id) for row in rows]


def nothing_created(shop, person):
    return not accounts(shop, person) and not identities(shop, person)


def audited(shop, user_id):
    return [
        row.action for row in shop.sql("SELECT action FROM audit_log WHERE subject = :s ORDER BY number", s=user_id)
    ]


def query(url):
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


class TestSettingOut:
    @both
    def test_with_pkce_state_and_nonce_to_the_configured_provider(self, shop, browser, provider):
        person = browser(provider)
        url = person.set_out()
        assert url.startswith(f"{shop.settings.sandbox_url}/idp/{provider}/")
        asked = query(url)
        assert asked["response_type"] == "code"
        assert asked["client_id"] == f"sandbox-{provider}"
        assert asked["redirect_uri"] == f"{shop.url}/v1/auth/oauth/{provider}/callback"
        assert asked["code_challenge_method"] == "S256"
        assert {"openid", "email"} <= set(asked["scope"].split())
        assert all(len(asked[name]) >= 43 for name in ("state", "nonce", "code_challenge"))
        again = query(person.set_out())
        assert all(again[name] != asked[name] for name in ("state", "nonce", "code_challenge"))

    def test_the_cookie_is_the_browsers_alone_and_says_nothing(self, shop):
        answer = shop.http.get(f"{shop.url}/v1/auth/oauth/google/authorize")
        cookie = answer.headers["set-cookie"]
        asked = query(answer.headers["location"])
        assert {"HttpOnly", "SameSite=lax", "Path=/v1/auth/oauth/google", "Max-Age=600"} <= set(cookie.split("; "))
        assert "Secure" not in cookie  # this shop is on http
        assert not any(asked[name] in cookie for name in ("state", "nonce"))
        assert answer.headers["cache-control"] == "no-store"
        shop.http.cookies.clear()

    def test_the_way_back_is_the_configured_address_whatever_the_host_header_says(self, shop):
        for headers in ({"Host": "evil.example"}, {"X-Forwarded-Host": "evil.example"}):
            answer = shop.http.get(f"{shop.url}/v1/auth/oauth/google/authorize", headers=headers)
            assert query(answer.headers["location"])["redirect_uri"].startswith(shop.url)
        shop.http.cookies.clear()
        public = shop.api(public_url="https://shop.example/")
        answer = shop.http.get(f"{public}/v1/auth/oauth/facebook/authorize")
        assert query(answer.headers["location"])["redirect_uri"] == (
            "https://shop.example/v1/auth/oauth/facebook/callback"
        )
        assert "Secure" in answer.headers["set-cookie"].split("; ")
        shop.http.cookies.clear()

    def test_another_provider_is_not_there(self, shop):
        for name in ("github", "GOOGLE", "google%2F"):
            answer = shop.get(f"/v1/auth/oauth/{name}/authorize")
            assert (answer.status_code, slug(answer)) == (404, "not-found")

    def test_nor_is_one_that_is_not_configured(self, shop):
        off = shop.api(google_client_id="")
        for path in ("authorize", "callback?state=x&code=y"):
            answer = shop.http.get(f"{off}/v1/auth/oauth/google/{path}")
            assert (answer.status_code, slug(answer)) == (404, "not-found")
        assert shop.http.get(f"{off}/v1/auth/oauth/facebook/authorize").status_code == 302
        shop.http.cookies.clear()


class TestSigningIn:
    @both
    def test_a_newcomer_gets_a_verified_account_without_a_password(self, shop, browser, provider):
        person = somebody()
        answer = browser(provider).sign_in(person)
        assert answer.status_code == 200, answer.text
        assert answer.headers["cache-control"] == "no-store"
        tokens = answer.json()
        assert set(tokens) == {"access_token", "refresh_token", "token_type", "expires_in", "user"}
        assert (tokens["user"]["email"], tokens["user"]["name"]) == (person["email"], "Olga Outside")
        assert tokens["user"]["role"] == "customer"
        (account,) = accounts(shop, person)
        assert account.verified
        assert account.password_hash is None
        assert identities(shop, person) == [(provider, account.id)]
        assert audited(shop, account.id) == ["account.registered", "session.started"]
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        (session,) = shop.get("/v1/me/sessions", headers).json()["items"]
        assert (session["method"], session["user_agent"]) == (provider, "Firefox")

    @both
    def test_next_time_it_is_the_same_account_even_with_another_address(self, shop, browser, provider):
        person = somebody()
        first = browser(provider).sign_in(person).json()["user"]
        other = {**person, "email": somebody()["email"]}
        assert browser(provider).sign_in(other).json()["user"]["id"] == first["id"]
        assert not accounts(shop, other)
        unverified = browser(provider).sign_in({**person, "email_verified": False})
        assert unverified.json()["user"]["id"] == first["id"]

    def test_both_providers_of_one_address_are_one_account(self, shop, browser):
        person = somebody()
        first = browser("google").sign_in(person).json()["user"]["id"]
        second = browser("facebook").sign_in({**person, "email": person["email"].upper()}).json()["user"]["id"]
        assert first == second
        assert identities(shop, person) == [("facebook", first), ("google", first)]

    @both
    def test_a_verified_account_of_that_address_is_linked_and_its_owner_told(self, shop, world, browser, provider):
        ada = member(shop)
        person = somebody(email=ada.email.upper())
        answer = browser(provider).sign_in(person)
        assert answer.json()["user"]["id"] == ada.id
        assert identities(shop, person) == [(provider, ada.id)]
        assert audited(shop, ada.id) == ["identity.linked", "session.started"]
        assert ada.try_login().status_code == 200  # the password goes on opening it
        (mail,) = eventually(lambda: world.mail(ada.email), within=40)
        assert ada.email == mail["to"]
        browser(provider).sign_in(person)
        assert audited(shop, ada.id).count("identity.linked") == 1
        kinds = shop.sql("SELECT kind FROM notices WHERE user_id = :id", id=ada.id)
        assert [row.kind for row in kinds] == ["signed_in_elsewhere_linked"]

    def test_an_account_that_waits_for_its_mail_is_taken_over_and_its_link_dies(self, shop, world, browser):
        """Somebody else may have begun it, with a password of theirs."""
        person = somebody()
        body = {"email": person["email"], "password": "a planted pass phrase", "name": "Mallory"}
        assert shop.post("/v1/auth/register", body).status_code == 202
        (mail,) = eventually(lambda: world.mail(person["email"]), within=40)
        user = browser().sign_in(person).json()["user"]
        assert (user["name"], user["email"]) == ("Olga Outside", person["email"])
        (account,) = accounts(shop, person)
        assert account.password_hash is None
        assert audited(shop, user["id"])[:2] == ["account.verified", "session.started"]
        token = query(next(word for word in mail["text"].split() if "token=" in word))["token"]
        assert shop.post("/v1/auth/email-verification/confirm", {"token": token}).status_code == 410
        planted = shop.post("/v1/auth/login", {"email": person["email"], "password": "a planted pass phrase"})
        assert planted.status_code == 401

    def test_guest_orders_of_the_address_appear(self, shop, browser):
        person = somebody()
        guest = shop.visitor()
        guest.email = person["email"].lower()
        guest.add()
        guest.prepare()
        order = guest.buy()["id"]
        headers = {"Authorization": f"Bearer {browser().sign_in(person).json()['access_token']}"}
        assert [found["id"] for found in shop.get("/v1/orders", headers).json()["items"]] == [order]

    def test_a_mailbox_that_looks_like_theirs_is_somebody_else(self, shop, browser):
        number = uuid.uuid4().hex[:10]
        owner = member(shop, email=f"strasse.{number}@example.com")
        user = browser().sign_in(somebody(email=f"straße.{number}@example.com")).json()["user"]
        assert user["id"] != owner.id

    def test_names_of_all_kinds_are_kept_harmless(self, shop, browser):
        for name, kept in (("Zoë\u0000\n  Œuvre\u202e", "Zoë Œuvre"), ("x" * 500, "x" * 200), ("", "Ada Lovelace")):
            assert browser().sign_in(somebody(name=name)).json()["user"]["name"] == kept

    def test_ten_at_once_are_one_account(self, shop, browser):
        person = somebody()
        browsers = [browser("google") for _ in range(6)]
        ways_back = [one.say(one.set_out(), **person) for one in browsers]
        calls = [lambda one=one, way=way: one.http.get(way) for one, way in zip(browsers, ways_back, strict=True)]
        answers = at_once(calls)
        assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers]
        assert len({answer.json()["user"]["id"] for answer in answers}) == 1
        assert len(accounts(shop, person)) == len(identities(shop, person)) == 1

    def test_both_providers_at_once_are_one_account(self, shop, browser):
        person = somebody()
        pair = [browser("google"), browser("facebook")]
        ways_back = [one.say(one.set_out(), **person) for one in pair]
        answers = at_once(
            [lambda one=one, way=way: one.http.get(way) for one, way in zip(pair, ways_back, strict=True)]
        )
        assert len({answer.json()["user"]["id"] for answer in answers}) == 1

    def test_one_person_under_two_addresses_at_once_is_one_account(self, shop, browser):
        person = somebody()
        names = [person, {**person, "email": somebody()["email"]}]
        pair = [browser(), browser()]
        ways_back = [one.say(one.set_out(), **name) for one, name in zip(pair, names, strict=True)]
        answers = at_once(
            [lambda one=one, way=way: one.http.get(way) for one, way in zip(pair, ways_back, strict=True)]
        )
        assert len({answer.json()["user"]["id"] for answer in answers}) == 1
        assert sum(len(accounts(shop, name)) for name in names) == 1

    def test_their_new_keys_are_fetched(self, shop, world, browser):
        browser().sign_in(somebody())
        world.post("/idp/google/rotate-keys")
        assert browser().sign_in(somebody()).status_code == 200


class TestAddressesThatAreNotVerified:
    @both
    def test_make_no_account(self, shop, browser, provider):
        person = somebody(email_verified=False)
        answer = browser(provider).sign_in(person)
        assert (answer.status_code, slug(answer)) == (403, "address-not-verified")
        assert nothing_created(shop, person)

    @both
    def test_are_never_linked(self, shop, browser, provider):
        ada = member(shop)
        person = somebody(email=ada.email, email_verified=False)
        answer = browser(provider).sign_in(person)
        assert (answer.status_code, slug(answer)) == (403, "address-not-verified")
        assert identities(shop, person) == []
        assert audited(shop, ada.id) == []

    @pytest.mark.parametrize("email", [None, "", "no address", "a@b\u0000.example"])
    def test_nor_is_what_is_no_address(self, shop, browser, email):
        person = somebody(email=email)
        answer = browser().sign_in(person)
        assert (answer.status_code, slug(answer)) == (403, "address-not-verified")
        assert identities(shop, person) == []

    @both
    def test_a_closed_account_stays_closed(self, shop, browser, provider):
        person = somebody(email=member(shop, disabled=True).email)
        answer = browser(provider).sign_in(person)
        assert (answer.status_code, slug(answer)) == (401, "sign-in-refused")
        assert identities(shop, person) == []


class TestWhatComesBack:
    def expired(self, answer):
        return (answer.status_code, slug(answer)) == (400, "sign-in-expired")

    def refused(self, answer):
        return (answer.status_code, slug(answer)) == (401, "sign-in-refused")

    def test_without_the_cookie_or_with_another_browsers_is_nobodys(self, shop, browser):
        person = somebody()
        ada, eve = browser(), browser()
        way_back = ada.say(ada.set_out(), **person)
        assert self.expired(shop.http.get(way_back))
        eve.set_out()
        assert self.expired(eve.http.get(way_back))  # a forced sign-in (RFC 9700, 4.7)
        assert nothing_created(shop, person)
        assert ada.http.get(way_back).status_code == 200

    @pytest.mark.parametrize("state", [None, "", "x", "é" * 40])
    def test_with_a_wrong_state_or_none(self, shop, browser, state):
        ada = browser()
        back = query(ada.say(ada.set_out(), **somebody()))
        params = {"code": back["code"], **({} if state is None else {"state": state})}
        assert self.expired(ada.http.get(f"{shop.url}/v1/auth/oauth/google/callback", params=params))

    def test_with_a_cookie_that_is_not_ours(self, shop, browser):
        ada = browser()
        way_back = ada.say(ada.set_out(), **somebody())
        good = ada.http.cookies["holdfast_sign_in_google"]
        ada.http.cookies.clear()
        for cookie in ("x", good[:-4] + "AAAA", good[:20], Vault.of(shop.settings).seal("Returned {}").decode()):
            answer = ada.http.get(way_back, headers={"Cookie": f"holdfast_sign_in_google={cookie}"})
            assert self.expired(answer), cookie

    def test_twice(self, shop, browser):
        person = somebody()
        ada = browser()
        url = ada.set_out()
        cookie = {"Cookie": f"holdfast_sign_in_google={ada.http.cookies['holdfast_sign_in_google']}"}
        way_back = ada.say(url, **person)
        assert ada.http.get(way_back).status_code == 200
        assert self.expired(ada.http.get(way_back))  # the cookie has gone
        assert self.expired(shop.http.get(way_back, headers=cookie))
        assert self.expired(shop.http.get(ada.say(url, **somebody()), headers=cookie))  # nor with another code

    def test_ten_times_at_once(self, shop, browser):
        person = somebody()
        ada = browser()
        way_back = ada.say(ada.set_out(), **person)
        cookie = {"Cookie": f"holdfast_sign_in_google={ada.http.cookies['holdfast_sign_in_google']}"}
        answers = at_once([lambda: shop.http.get(way_back, headers=cookie)] * 10)
        assert sorted(answer.status_code for answer in answers) == [200] + [400] * 9

    def test_too_late(self, shop, browser):
        hasty = shop.api(oauth_seconds=0.001)
        person = somebody()
        ada = browser(url=hasty)
        answer = shop.http.get(f"{hasty}/v1/auth/oauth/google/authorize")
        shop.http.cookies.clear()
        cookie = {"Cookie": answer.headers["set-cookie"].split(";")[0]}
        assert self.expired(shop.http.get(ada.say(answer.headers["location"], **person), headers=cookie))
        assert nothing_created(shop, person)

    @both
    def test_with_a_no(self, shop, browser, provider):
        ada = browser(provider)
        for error in ("access_denied", "server_error", "made_up"):
            answer = ada.http.get(ada.say(ada.set_out(), error=error))
            assert self.refused(answer)
            assert error not in answer.text

    def test_with_neither_a_code_nor_an_error(self, shop, browser):
        ada = browser()
        state = query(ada.set_out())["state"]
        assert self.refused(ada.http.get(f"{shop.url}/v1/auth/oauth/google/callback", params={"state": state}))

    @both
    def test_with_a_code_that_was_used_or_made_up(self, shop, browser, provider):
        person = somebody()
        ada, eve = browser(provider), browser(provider)
        stolen = query(ada.say(ada.set_out(), **person))["code"]
        for code in (stolen, "made-up"):  # bound to the verifier of the browser that set out
            state = query(eve.set_out())["state"]
            params = {"state": state, "code": code}
            assert self.refused(eve.http.get(f"{shop.url}/v1/auth/oauth/{provider}/callback", params=params))
        assert nothing_created(shop, person)

    def test_from_the_other_provider(self, shop, browser):
        """Mix-up (RFC 9700, 4.4): Facebook's answer brought to Google's callback."""
        person = somebody()
        ada = browser("google")
        google = query(ada.set_out())
        facebook = browser("facebook")
        facebook.http.cookies = ada.http.cookies
        code = query(facebook.say(facebook.set_out(), **person))["code"]
        params = {"state": google["state"], "code": code}
        assert self.refused(ada.http.get(f"{shop.url}/v1/auth/oauth/google/callback", params=params))
        state = query(facebook.set_out())["state"]
        assert self.expired(
            ada.http.get(f"{shop.url}/v1/auth/oauth/google/callback", params={"state": state, "code": code})
        )
        assert nothing_created(shop, person)

    def test_with_the_others_cookie_under_this_ones_name(self, shop, browser):
        facebook = browser("facebook")
        state = query(facebook.set_out())["state"]
        cookie = {"Cookie": f"holdfast_sign_in_google={facebook.http.cookies['holdfast_sign_in_facebook']}"}
        params = {"state": state, "code": "x"}
        url = f"{shop.url}/v1/auth/oauth/google/callback"
        assert self.expired(shop.http.get(url, params=params, headers=cookie))

    @both
    def test_with_the_name_of_an_issuer(self, shop, browser, provider):
        person = somebody()
        answer = browser(provider).sign_in(person, iss="https://issuer.example")
        assert self.refused(answer)
        assert nothing_created(shop, person)
        mine = f"{shop.settings.sandbox_url}/idp/{provider}"
        assert browser(provider).sign_in(person, iss=mine).status_code == 200

    @both
    @pytest.mark.parametrize(
        "forge",
        [
            "nonce", "no_nonce", "audience", "second_audience", "azp", "issuer", "expired", "no_expiry", "at_hash",
            "signature", "claims", "unknown_key", "alg_none", "hs256", "missing", "garbage",
        ],
    )  # fmt: skip
    def test_with_an_id_token_that_does_not_hold(self, shop, browser, provider, forge):
        person = somebody()
        answer = browser(provider).sign_in(person, forge=forge)
        assert self.refused(answer), answer.text
        assert nothing_created(shop, person)

    def test_with_another_person_at_facebooks_graph(self, shop, browser):
        person = somebody()
        assert self.refused(browser("facebook").sign_in(person, forge="subject"))
        assert nothing_created(shop, person)


class TestAProviderThatFails:
    @pytest.fixture(autouse=True)
    @staticmethod
    def _no_scripts(world):
        yield
        world.forget_scripts()

    def unavailable(self, answer):
        assert answer.headers["retry-after"]
        return (answer.status_code, slug(answer)) == (503, "sign-in-unavailable")

    @both
    @pytest.mark.parametrize(
        "outcome",
        [
            {"kind": "status_before", "status": 500},
            {"kind": "status_after", "status": 503},
            {"kind": "status_before", "status": 429},
            {"kind": "reset_connection_before"},
            {"kind": "reset_connection_after"},
        ],
    )
    def test_the_exchange(self, shop, world, browser, provider, outcome):
        person = somebody()
        ada = browser(provider)
        way_back = ada.say(ada.set_out(), **person)
        path = {"google": "/idp/google/token", "facebook": "/idp/facebook/oauth/access_token"}[provider]
        world.post("/script", service="idp", match={"path": path}, outcomes=[outcome])
        assert self.unavailable(ada.http.get(way_back))
        assert nothing_created(shop, person)
        assert ada.sign_in(person).status_code == 200  # begun again, it works

    def test_a_secret_of_ours_that_is_wrong_is_not_the_persons_fault(self, shop):
        settings = shop.settings.model_copy(update={"google_client_secret": SecretStr("not the one that they know")})
        providers = IdentityProviders.of(settings)
        with pytest.raises(SignInUnavailable):
            asyncio.run(providers.identify(ProviderName.GOOGLE, code="x", nonce="y", verifier="z"))
        providers.close()

    def test_the_graph(self, shop, world, browser):
        person = somebody()
        world.post(
            "/script",
            service="idp",
            match={"path": "/idp/facebook/me"},
            outcomes=[{"kind": "status_before", "status": 500}],
        )
        assert self.unavailable(browser("facebook").sign_in(person))
        assert nothing_created(shop, person)

    def test_discovery_and_keys_before_they_are_known(self, shop, world, browser):
        fresh = shop.api(oauth_seconds=601)
        ada = browser(url=fresh)
        down = [{"kind": "status_before", "status": 500}]
        world.post("/script", service="idp", match={"path": "/idp/google/.well-known"}, outcomes=down)
        assert self.unavailable(ada.http.get(f"{fresh}/v1/auth/oauth/google/authorize"))
        world.post("/script", service="idp", match={"path": "/idp/google/oauth2"}, outcomes=down)
        person = somebody()
        assert self.unavailable(ada.sign_in(person))
        assert nothing_created(shop, person)
        assert ada.sign_in(person).status_code == 200

    def test_what_it_publishes_is_remembered(self, shop, world, monkeypatch):
        monkeypatch.setattr(identity, "KEPT_SECONDS", 0.0)
        providers = IdentityProviders.of(shop.settings)

        async def ask():
            return await providers.authorization_url(ProviderName.GOOGLE, state="s", nonce="n", verifier="v" * 43)

        first = asyncio.run(ask())
        world.post(
            "/script",
            service="idp",
            match={"path": "/idp/google/.well-known"},
            outcomes=[{"kind": "status_before", "status": 500}],
        )
        assert asyncio.run(ask()) == first
        providers.close()

    def test_one_that_hangs_takes_nobody_with_it(self, shop, world, browser):
        people = [browser() for _ in range(6)]
        ways_back = [one.say(one.set_out(), **somebody()) for one in people]
        world.post(
            "/script",
            service="idp",
            match={"path": "/idp/google/token"},
            outcomes=[{"kind": "delay", "ms": 1500}],
            repeat=6,
        )
        reads = []

        def read():
            for _ in range(10):
                answer = shop.get("/v1/products")
                reads.append((answer.status_code, answer.elapsed.total_seconds()))

        calls = [lambda one=one, way=way: one.http.get(way) for one, way in zip(people, ways_back, strict=True)]
        answers = at_once([*calls, read])
        assert {answer.status_code for answer in answers[:-1]} == {200}
        assert {status for status, _ in reads} == {200}
        assert max(seconds for _, seconds in reads) < 1.5


class TestSecondFactor:
    @pytest.fixture
    def ada(self, shop):
        """A member with an authenticator, and its secret."""
        ada = member(shop)
        ada.login()
        secret = ada.call("POST", "/v1/me/totp").json()["secret"]
        codes = ada.call("POST", "/v1/me/totp/confirm", {"code": pyotp.TOTP(secret).now()}).json()["recovery_codes"]
        return ada, codes

    def go_on(self, shop, token, code):
        return shop.post("/v1/auth/oauth/continue", {"continue_token": token, "code": code})

    @both
    def test_is_still_asked_for_and_nothing_is_linked_before(self, shop, browser, provider, ada):
        ada, codes = ada
        person = somebody(email=ada.email)
        answer = browser(provider).sign_in(person)
        assert (answer.status_code, slug(answer)) == (401, "second-factor-required")
        assert identities(shop, person) == []
        token = answer.json()["continue_token"]
        assert answer.json()["expires_in"] == 300
        assert person["email"] not in token
        wrong = self.go_on(shop, token, "000000")
        assert (wrong.status_code, slug(wrong)) == (401, "invalid-credentials")
        right = self.go_on(shop, token, codes[0])
        assert right.status_code == 200, right.text
        assert right.json()["user"]["id"] == ada.id
        assert identities(shop, person) == [(provider, ada.id)]
        found = shop.sql(
            "SELECT second_factor FROM sessions WHERE user_id = :id AND method = :m", id=ada.id, m=provider
        )
        assert [row.second_factor for row in found] == ["passed"]
        again = self.go_on(shop, token, codes[1])
        assert (again.status_code, slug(again)) == (400, "sign-in-expired")

    def test_codes_are_not_to_be_guessed(self, shop, browser, ada):
        ada, codes = ada
        token = browser().sign_in(somebody(email=ada.email)).json()["continue_token"]
        statuses = [self.go_on(shop, token, f"00000{n}").status_code for n in range(7)]
        assert statuses[:5] == [401] * 5
        assert 429 in statuses[5:]
        assert self.go_on(shop, token, codes[0]).status_code == 429

    @pytest.mark.parametrize("token", ["x", "", "gAAAAAB" + "A" * 100])
    def test_a_token_that_is_not_ours_goes_nowhere(self, shop, token):
        answer = self.go_on(shop, token, "123456")
        assert answer.status_code in (400, 422)

    def test_nor_does_the_cookie_of_a_sign_in(self, shop, browser):
        ada = browser()
        ada.set_out()
        answer = self.go_on(shop, ada.http.cookies["holdfast_sign_in_google"], "123456")
        assert (answer.status_code, slug(answer)) == (400, "sign-in-expired")

    def test_staff_without_one_may_only_enrol_in_production(self, shop, browser):
        production = shop.api(env=Environment.PRODUCTION)
        boss = member(shop, role=Role.ADMIN)
        tokens = browser(url=production).sign_in(somebody(email=boss.email)).json()
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        assert shop.http.get(f"{production}/v1/staff", headers=headers).status_code == 403
        assert shop.http.post(f"{production}/v1/me/totp", headers=headers).status_code == 201
