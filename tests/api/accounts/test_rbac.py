"""Nobody gets in who doesn't belong: every route says whom it is for, and every kind of caller tries every route.

The cases are made from the app's own routes: one that is added is tried without being named here, unless it needs an
object of a new kind (then its test says so).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property

import pytest
from fastapi.routing import iter_route_contexts

from activities.gateways.secrets import token_digest
from api.__main__ import document
from api.auth import API_KEY_PREFIX, declared
from api.main import create_app
from models.accounts.access import SCOPES, Principal, Role, Scope
from models.ids import new_id
from runtime.settings import Settings
from tests.fixtures.people import PASSWORD, member
from tests.fixtures.shop import ADDRESSES, SKU, Buyer, new_key

# Routes that ask for neither a scope nor a person, and why.
PUBLIC = {
    "GET /openapi.json": "documentation",
    "GET /docs": "documentation",
    "GET /docs/oauth2-redirect": "documentation",
    "GET /redoc": "documentation",
    "GET /health/live": "for the machines that look after this one",
    "GET /health/ready": "as above",
    "GET /metrics": "as above; a proxy keeps it inside",
    "GET /.well-known/jwks.json": "public keys",
    "GET /v1/categories": "the shop window",
    "GET /v1/products": "the shop window",
    "GET /v1/products/{key}": "the shop window",
    "POST /v1/carts": "guests shop as well",
    "POST /v1/webhooks/stripe": "its signature says who sent it",
    "POST /v1/webhooks/paypal": "its signature says who sent it",
    "POST /v1/webhooks/sendgrid": "its signature says who sent it",
    "POST /v1/webhooks/carrier/{name}": "its signature says who sent it",
    "POST /v1/auth/register": "nobody is anybody yet",
    "POST /v1/auth/login": "this is how one becomes somebody",
    "POST /v1/auth/refresh": "the refresh token says who it is",
    "POST /v1/auth/email-verification": "for who can't sign in yet",
    "POST /v1/auth/email-verification/confirm": "the mailed token says who it is",
    "POST /v1/auth/password-reset": "for who can't sign in",
    "POST /v1/auth/password-reset/confirm": "the mailed token says who it is",
    "POST /v1/auth/invitations/accept": "the mailed token says who it is",
    "GET /v1/auth/oauth/{provider}/authorize": "this is how one becomes somebody",
    "GET /v1/auth/oauth/{provider}/callback": "the provider's answer says who it is",
    "POST /v1/auth/oauth/continue": "its sealed token says who it is",
}
# Routes whose objects are a guest's (who holds the cart's token) or a customer's: to everybody else there are none.
OWNED = ("/v1/carts/{cart_id}", "/v1/checkouts", "/v1/orders")


@dataclass(frozen=True)
class Operation:
    method: str
    path: str
    scope: Scope | None
    person: bool

    @property
    def name(self):
        return f"{self.method} {self.path}"

    @property
    def owned(self):
        return self.path.startswith(OWNED)

    @property
    def reads_orders(self):
        return self.method == "GET" and self.path.startswith("/v1/orders")

    @property
    def changes_orders(self):
        """What support may do for a buyer; paying is the buyer's alone."""
        return self.method != "GET" and self.path.startswith("/v1/orders") and not self.path.endswith("payment-method")

    @property
    def parameters(self):
        return [part[1:-1] for part in self.path.split("/") if part.startswith("{")]


def operations():
    for route in iter_route_contexts(create_app(Settings.model_construct()).routes):
        asked = declared(route)
        for method in sorted(set(route.methods or ()) - {"HEAD"}):
            yield Operation(method, route.path, asked.scope, asked.person)


OPERATIONS = list(operations())
NAMES = {operation.name for operation in OPERATIONS}
DOCUMENT = json.loads(document())


class TestEveryRoute:
    @pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
    def test_says_whom_it_is_for(self, operation):
        says = [operation.scope is not None, operation.person, operation.name in PUBLIC, operation.owned]
        if operation.person and operation.path.startswith(OWNED):
            says.remove(True)  # it is for people, and only for the object's owner among them
        assert says.count(True) == 1, "declare `requires(scope)` or `Person`, or list it above with the reason"

    def test_of_the_list_exists(self):
        assert set(PUBLIC) - NAMES == set()

    def test_under_me_is_for_people(self):
        assert [o.name for o in OPERATIONS if o.path.startswith("/v1/me") and not o.person] == []

    def test_tells_in_the_contract_what_it_asks(self):
        for operation in OPERATIONS:
            if operation.scope or operation.person:
                told = DOCUMENT["paths"][operation.path][operation.method.lower()]["security"]
                assert told == [{"bearer": [operation.scope] if operation.scope else []}], operation.name

    def test_that_is_added_without_saying_is_noticed(self):
        app = create_app(Settings.model_construct())

        @app.get("/v1/secrets")
        async def secrets():
            return {}

        (route,) = [route for route in iter_route_contexts(app.routes) if route.path == "/v1/secrets"]
        assert not declared(route).signed_in


@dataclass
class Caller:
    """Somebody who knocks at every door. `role` None: a machine, or a guest."""

    name: str
    headers: dict = field(default_factory=dict)
    role: Role | None = None
    scopes: frozenset = frozenset()
    guest: bool = False

    @property
    def machine(self):
        return self.role is None and not self.guest


class People:
    """One of each kind, for all tests, and their sessions."""

    def __init__(self, shop):
        self._shop = shop
        self._persons = {}
        self._machines = {}

    def person(self, role):
        """Who owns nothing that others ask for."""
        if role not in self._persons:
            headers = self.session(member(self._shop, role=role).id, role)
            self._persons[role] = Caller(f"another {role}", headers, role, SCOPES[role])
        return self._persons[role]

    def session(self, user_id, role):
        """Begun without a password, which takes as long as all the calls of a test."""
        session_id = new_id("ses")
        self._shop.sql(
            "INSERT INTO sessions (id, user_id, method, second_factor, user_agent, address, expires_at)"
            " VALUES (:id, :user, 'test', 'none', '', '', now() + interval '1 hour')",
            id=session_id,
            user=user_id,
        )
        token = self._shop.tokens.issue(Principal(user_id=user_id, role=role, session_id=session_id))
        return {"Authorization": f"Bearer {token}"}

    def machine(self, scope, *, without=False):
        """With a key for that scope alone, or for all the others."""
        if (scope, without) not in self._machines:
            self._machines[scope, without] = self._new_machine(scope, without=without)
        return self._machines[scope, without]

    def _new_machine(self, scope, *, without):
        key = API_KEY_PREFIX + new_key()
        scopes = frozenset(Scope) - {scope} if without else frozenset({scope})
        self._shop.sql(
            "INSERT INTO api_keys (id, name, hint, digest, scopes, created_by)"
            " VALUES (:id, 'test', '', :digest, :scopes, 'test')",
            id=new_id("key"),
            digest=token_digest(key),
            scopes=[held.value for held in scopes],
        )
        name = f"a machine with all but {scope}" if without else f"a machine with {scope}"
        return Caller(name, {"Authorization": f"Bearer {key}"}, scopes=scopes)

    def strangers(self):
        """For whom a person's own routes are not."""
        yield Caller("a guest", guest=True)
        yield self.machine(Scope.ORDERS_READ)
        yield self.machine(Scope.ORDERS_READ, without=True)

    def everybody(self, scope):
        """Besides the owner of an object, where there is one."""
        yield Caller("a guest", guest=True)
        yield Caller("a guest with another cart's token", {"X-Cart-Token": new_key()}, guest=True)
        for role in Role:
            yield self.person(role)
        yield self.machine(scope)
        yield self.machine(scope, without=True)


@dataclass
class Belongings:
    """What one customer, or one guest, has."""

    shop: object
    people: People
    owner: Caller = None
    objects: dict = field(default_factory=dict)

    @cached_property
    def user_id(self):
        return member(self.shop).id

    # What belongs to the owner

    def make(self, operation, *, of_a_guest=False):
        """The owner, and an object of theirs for each name in the path; of a guest it has the cart's token."""
        if of_a_guest:
            self.owner = Caller("its owner", guest=True)
        else:
            headers = self.people.session(self.user_id, Role.CUSTOMER)
            self.owner = Caller("its owner", headers, Role.CUSTOMER)
        for name in operation.parameters:
            self.objects.setdefault(name, self._object(name))
        if operation.name == "POST /v1/checkouts":
            self.objects["cart_id"] = self._object("cart_id")
        if operation.name == "POST /v1/carts/{cart_id}/merge":
            guest = self.shop.visitor()
            self.objects["cart_id"] = guest.cart_id
            self.owner.headers |= guest.headers

    def _object(self, name):
        makers = {
            "cart_id": lambda: self._cart["id"],
            "item_id": lambda: self._cart["items"][0]["id"],
            "code": lambda: self._cart["discounts"][0]["code"],
            "order_id": lambda: self._bought["order"]["id"],
            "checkout_id": lambda: self._bought["checkout_id"],
            "address_id": self._address,
            "payment_method_id": self._payment_method,
            "session_id": self._session,
        }
        assert name in makers, f"teach this test to make an object for {{{name}}} that belongs to a customer"
        return makers[name]()

    @cached_property
    def _buyer(self):
        cart = self.shop.post("/v1/carts", {}, self.owner.headers).json()
        if "token" in cart:
            self.owner.headers["X-Cart-Token"] = cart["token"]
        return Buyer(self.shop, self.shop.url, cart, self.owner.headers)

    @cached_property
    def _cart(self):
        self._buyer.add()
        self._buyer.prepare()
        code = self.shop.promotion(percent=1)
        return self._buyer.change("POST", "/discounts", {"code": code})

    @cached_property
    def _bought(self):
        assert self._cart
        answer = self._buyer.checkout()
        assert answer.status_code == 201, answer.text
        return answer.json()

    def _address(self):
        answer = self.shop.post("/v1/me/addresses", ADDRESSES["US"], self.owner.headers)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def _session(self):
        self.people.session(self.user_id, Role.CUSTOMER)
        ((newest,),) = self.shop.sql("SELECT max(id) FROM sessions WHERE user_id = :id", id=self.user_id)
        return newest

    def _payment_method(self):
        made = new_id("pm")
        self.shop.sql(
            "INSERT INTO payment_methods (id, user_id, provider, state, token)"
            " VALUES (:id, :user, 'stripe', 'saved', 'pm_card_visa')",
            id=made,
            user=self.user_id,
        )
        return made


def call(shop, operation, caller, body, objects=None):
    path = operation.path
    for name in operation.parameters:
        path = path.replace(f"{{{name}}}", (objects or {}).get(name, "none"))
    return shop.http.request(
        operation.method,
        shop.url + path,
        headers={"Idempotency-Key": new_key(), **caller.headers},
        **({} if body is None else {"json": body}),
    )


def a_body_for(operation, objects):
    """By its schema, with values that mean something; None where it takes none."""
    told = DOCUMENT["paths"].get(operation.path, {}).get(operation.method.lower(), {})
    if "requestBody" not in told:
        return None
    return _example(told["requestBody"]["content"]["application/json"]["schema"], "", objects)


MEANINGFUL = {
    "email": "somebody@example.com",
    "password": PASSWORD,
    "new_password": "quite another password",
    "sku": SKU,
    "code": "WELCOME10",
    "country": "US",
    "currency": "USD",
    "region": "NY",
    "postal_code": "12207",
    "amount": 1_000_000,
    "provider": "stripe",
    "method": "pm_card_visa",
}


def _example(schema, name, objects):
    if "$ref" in schema:
        return _example(DOCUMENT["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]], name, objects)
    if name in objects:
        return objects[name]
    if name in MEANINGFUL:
        return MEANINGFUL[name]
    if "anyOf" in schema:
        return _example(schema["anyOf"][0], name, objects)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type", "object")
    if kind == "object":
        found = schema.get("properties", {})
        given = {*schema.get("required", ()), *MEANINGFUL, *objects}
        return {key: _example(found[key], key, objects) for key in found if key in given}
    if kind == "array":
        return [_example(schema["items"], name, objects)] * schema.get("minItems", 0)
    least = int(schema.get("minimum", 1))
    return {"string": "x" * max(1, schema.get("minLength", 1)), "integer": least}.get(kind, False)


def what(answer):
    """`in`, or how the door was kept shut."""
    slug = answer.json()["type"].rsplit("/", 1)[1] if answer.status_code >= 400 else ""
    if (answer.status_code, slug) in ((401, "unauthenticated"), (403, "forbidden"), (404, "not-found")):
        return answer.status_code
    return "in"


@pytest.fixture(scope="module")
def people(shop):
    return People(shop)


@pytest.fixture
def belongings(shop, people):
    return Belongings(shop, people)


ASKING_FOR_A_SCOPE = [o for o in OPERATIONS if o.scope]
ASKING_FOR_A_PERSON = [o for o in OPERATIONS if o.person]
OWNED_ONES = [o for o in OPERATIONS if o.owned and not o.person]


def named(operation):
    return operation.name


class TestTheMatrix:
    """Role × route × own or another's."""

    @pytest.mark.parametrize("operation", ASKING_FOR_A_SCOPE, ids=named)
    def test_a_scope_lets_in_who_has_it(self, shop, people, operation):
        body = None if a_body_for(operation, {}) is None else {}  # nothing comes of it
        found, expected = {}, {}
        for caller in people.everybody(operation.scope):
            found[caller.name] = what(call(shop, operation, caller, body))
            expected[caller.name] = 401 if caller.guest else "in" if operation.scope in caller.scopes else 403
            if expected[caller.name] == "in" and found[caller.name] == 404:
                found[caller.name] = "in"  # and there is no such thing
        assert found == expected

    @pytest.mark.parametrize("operation", ASKING_FOR_A_PERSON, ids=named)
    def test_what_is_a_persons_is_theirs_alone(self, shop, people, belongings, operation):
        belongings.make(operation)
        body = a_body_for(operation, belongings.objects)
        # Without an object, only its caller's own things can be met: one of them is enough.
        others = people.everybody(Scope.ORDERS_READ) if operation.parameters else people.strangers()
        found, expected = {}, {}
        for caller in [*others, belongings.owner]:
            found[caller.name] = what(call(shop, operation, caller, body, belongings.objects))
            foreign = caller is not belongings.owner and operation.parameters
            expected[caller.name] = 401 if caller.guest else 403 if caller.machine else 404 if foreign else "in"
            if found[caller.name] == 404 and not operation.parameters:
                found[caller.name] = "in"  # and has nothing of the kind
        assert found == expected, body

    @pytest.mark.parametrize("of_a_guest", [False, True], ids=["a customer's", "a guest's"])
    @pytest.mark.parametrize("operation", OWNED_ONES, ids=named)
    def test_a_cart_a_checkout_and_an_order_are_their_owners_alone(
        self, shop, people, belongings, operation, of_a_guest
    ):
        """And of staff and machines who may read orders, or do for a buyer what the buyer may do."""
        belongings.make(operation, of_a_guest=of_a_guest)
        body = a_body_for(operation, belongings.objects)
        found, expected = {}, {}
        for caller in [*people.everybody(Scope.ORDERS_READ), belongings.owner]:
            found[caller.name] = what(call(shop, operation, caller, body, belongings.objects))
            reader = operation.reads_orders and Scope.ORDERS_READ in caller.scopes
            expected[caller.name] = "in" if caller is belongings.owner or reader else 404
            if operation.changes_orders and caller is not belongings.owner and Scope.ORDERS_READ in caller.scopes:
                expected[caller.name] = "in" if Scope.ORDERS_WRITE in caller.scopes else 403
            elif operation.changes_orders and Scope.ORDERS_WRITE in caller.scopes:
                expected[caller.name] = "in"
            if operation.name == "GET /v1/orders":  # each their own
                expected[caller.name] = 401 if caller.guest else 403 if caller.machine and not reader else "in"
        assert found == expected, body

    @pytest.mark.parametrize(
        "operation", [o for o in OPERATIONS if o.name in PUBLIC and o.path.startswith("/v1/")], ids=named
    )
    def test_the_public_ones_turn_nobody_away(self, shop, people, operation):
        body = None if a_body_for(operation, {}) is None else {}
        for caller in (Caller("a guest", guest=True), people.person(Role.CUSTOMER)):
            assert what(call(shop, operation, caller, body)) not in (401, 403), caller.name

    def test_meets_every_route_of_the_contract(self):
        tried = {o.name for o in (*ASKING_FOR_A_SCOPE, *ASKING_FOR_A_PERSON, *OWNED_ONES)} | set(PUBLIC)
        published = {f"{method.upper()} {path}" for path, found in DOCUMENT["paths"].items() for method in found}
        assert published <= tried


@pytest.mark.parametrize("token", ["nonsense", "hf_live_nonsense"])
def test_a_bad_token_is_nobody_everywhere(shop, token):
    """Not even a guest."""
    nobody = Caller("nobody", {"Authorization": f"Bearer {token}"})
    for operation in OPERATIONS:
        if operation.scope or operation.person or operation.owned:
            answer = call(shop, operation, nobody, a_body_for(operation, {}))
            assert answer.status_code == 401, operation.name
            assert answer.headers["www-authenticate"].startswith("Bearer")
