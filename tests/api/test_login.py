"""Signing in with a password, and what guessing meets."""

from __future__ import annotations

from tests.fixtures.people import PASSWORD, member
from tests.fixtures.shop import at_once, slug


def test_a_sign_in_gives_tokens_that_speak_for_the_person(shop):
    ada = member(shop)

    answer = ada.try_login()

    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["token_type"] == "Bearer"
    assert found["expires_in"] == 600
    assert found["user"] == {
        "id": ada.id,
        "email": ada.email,
        "name": ada.name,
        "role": "customer",
        "second_factor": False,
        "version": 1,
    }
    cart = shop.post("/v1/carts", {}, {"Authorization": f"Bearer {found['access_token']}"})
    assert cart.status_code == 201
    assert shop.get(f"/v1/carts/{cart.json()['id']}").status_code == 404  # theirs alone


def test_whatever_is_wrong_the_answer_is_the_same(shop):
    people = {
        "wrong": (member(shop), {"password": "not their password"}),
        "unknown": (member(shop), {"email": "nobody.at.all@example.com"}),
        "no address at all": (member(shop), {"email": "nobody"}),
        "not verified": (member(shop, verified=False), {}),
        "disabled": (member(shop, disabled=True), {}),
        "to be reset": (member(shop, must_reset=True), {}),
    }

    answers = {why: person.try_login(**more) for why, (person, more) in people.items()}

    assert {answer.status_code for answer in answers.values()} == {401}
    assert {slug(answer) for answer in answers.values()} == {"invalid-credentials"}
    bodies = [{**answer.json(), "request_id": None} for answer in answers.values()]
    assert all(body == bodies[0] for body in bodies)
    headers = [sorted(set(answer.headers) - {"date"}) for answer in answers.values()]
    assert all(names == headers[0] for names in headers)


def test_guesses_at_once_do_not_exceed_the_allowance(shop):
    ada = member(shop)

    answers = at_once([lambda n=n: ada.try_login(password=f"guess {n}") for n in range(50)])

    statuses = [answer.status_code for answer in answers]
    assert statuses.count(401) <= 6
    assert statuses.count(429) >= 44


def test_the_same_person_at_fifty_doors_at_once_gets_in_everywhere(shop):
    ada = member(shop)

    answers = at_once([lambda: ada.try_login(password=PASSWORD) for _ in range(50)])

    assert {answer.status_code for answer in answers} == {200}
