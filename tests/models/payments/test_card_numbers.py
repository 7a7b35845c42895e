"""What is a card number, and what only looks like one."""

from __future__ import annotations

import itertools
import json
import random
import time
import tracemalloc
import uuid

import pytest

from models.ids import PREFIXES, new_id
from models.payments.card_numbers import find_in_json, holds_card_number, is_card_number

# Published test numbers: nobody's cards.
CARDS = (
    "4242424242424242",
    "4222222222222",
    "5555555555554444",
    "2223003122003222",
    "378282246310005",
    "6011111111111117",
    "30569309025904",
    "3566002020360505",
    "6200000000000005",
    "6759649826438453",
)


@pytest.mark.parametrize("number", CARDS)
def test_every_issuers_numbers_are_known(number):
    assert is_card_number(number)


@pytest.mark.parametrize("number", CARDS)
def test_one_wrong_digit_makes_it_another_number(number):
    for i, digit in enumerate(number):
        wrong = number[:i] + str((int(digit) + 1) % 10) + number[i + 1 :]
        assert not is_card_number(wrong)


@pytest.mark.parametrize("number", ["", "4", "424242424242", "1234567890123456", "9999999999999995", "4" * 20])
def test_other_lengths_and_issuers_are_none(number):
    assert not is_card_number(number)


@pytest.mark.parametrize(
    "text",
    [
        "4242 4242 4242 4242",
        "4242-4242-4242-4242",
        "4242 - 4242 - 4242 - 4242",
        "4242\u00a04242\u20134242\u20144242",
        "3782 822463 10005",
        "my card is 4242424242424242, thanks",
        "4242424242424242 12/30 123",
        "4242424242424242 123",
        "pm_4242424242424242",
        "x4242424242424242x",
        "４２４２４２４２４２４２４２４２",  # fullwidth
        "٤٢٤٢٤٢٤٢٤٢٤٢٤٢٤٢",  # Arabic-Indic
    ],
)
def test_however_people_write_them(text):
    assert holds_card_number(text)
    assert find_in_json(json.dumps({"a": [text]}).encode()) == "/a/0"
    assert find_in_json(json.dumps({"a": [text]}, ensure_ascii=False).encode()) == "/a/0"


@pytest.mark.parametrize(
    "text",
    [
        "+49 1511 2345674",
        "+4222222222222",  # a telephone number, whatever else its digits may be
        "0049 1511 2345674",
        "2026-11-22T13:58:02.826158Z",
        "1Z999AA10123456784",
        "4242424242424241",
        "42424242424242424242",  # twenty digits in a row
        "500 Howard Street, 94105",
    ],
)
def test_what_only_looks_like_one(text):
    assert not holds_card_number(text)


def test_our_ids_are_none_whatever_their_digits():
    assert not any(holds_card_number(new_id(prefix)) for prefix in sorted(PREFIXES) for _ in range(300))
    assert not holds_card_number("cart_4242424242424242424242424242424a")
    assert not any(holds_card_number(str(uuid.uuid4())) for _ in range(3000))


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b'{"a": 4242424242424242}', "/a"),
        (b'{"a": -4242424242424242}', "/a"),
        (b'{"a": 4.242424242424242e15}', "/a"),
        (b'{"a": {"b~c/d": ["x", "4242424242424242"]}}', "/a/b~0c~1d/1"),
        (b'"4242424242424242"', ""),
        (b'{"4242424242424242": 1}', ""),  # never repeated
        (b'{"a": {"4242424242424242": 1}}', "/a"),
        (b'{"a": "4242424242424242", "a": "x"}', ""),  # a reader keeps the last only
        (b'{"a": "4242424242424242"', ""),  # not JSON, and still a card's number
        (b'{"a": "\\u0034242424242424242"}', "/a"),
        ('{"a": "4242424242424242"}'.encode("utf-16"), "/a"),
        (b'{"a": NaN, "b": Infinity, "c": true, "d": null, "e": 1e400}', None),
        (b'{"a": "4242", "b": "424242424242"}', None),
        (b"", None),
        (b"[" * 100_000, None),
        (b'{"a": 1' + b"0" * 5000 + b"}", None),
        (b'["' + b'4 4 4 4 4 4 4 4 4 4 4 4 4", "' * 100 + b'"]', "/76"),  # more than anybody would look through
    ],
)
def test_the_pointer_says_where(body, pointer):
    assert find_in_json(body) == pointer


def test_no_body_breaks_it():
    dice = random.Random(7)

    def anything(depth=0):
        kinds = [None, True, dice.randint(-(10**25), 10**25), dice.random() * 10 ** dice.randint(-30, 300)]
        kinds.append("".join(chr(dice.choice((32, 45, 48, 52, 57, 97, 0x663, 0xFF14, 0x1F4B3))) for _ in range(30)))
        if depth < 4:
            kinds += [[anything(depth + 1) for _ in range(2)], {str(dice.random()): anything(depth + 1)}] * 2
        return dice.choice(kinds)

    found = [find_in_json(json.dumps({"a": anything()}, ensure_ascii=dice.random() < 0.5).encode()) for _ in range(500)]
    assert any(found)
    assert None in found


GROWING = {
    "dashes": lambda n: b'{"a":"' + b"-" * n + b' 1234567890123"}',
    "digits and dashes": lambda n: b'{"a":"' + b"1-" * (n // 2) + b'"}',
    "beginnings of ids": lambda n: b'{"a":"' + b"1234567-" * (n // 8) + b'"}',
    "almost ids": lambda n: b'{"a":"' + b"-1234567890123456789012345678901" * (n // 32) + b'"}',
    "blanks": lambda n: b'{"a":"' + b"4 " * (n // 2) + b'"}',
    "not JSON": lambda n: b"1-" * (n // 2),
    "a long name above many members": lambda n: (
        b'{"' + b"n" * (n // 2) + b'":{' + b",".join(b'"%d":0' % i for i in range(n // 20)) + b',"z":1234567890123}}'
    ),
    "long names within each other": lambda n: b'{"%s":' % (b"n" * (n // 400)) * 400 + b"1234567890123" + b"}" * 400,
}


@pytest.mark.parametrize("body", GROWING.values(), ids=GROWING)
def test_time_and_memory_grow_with_the_body_and_not_faster(body):
    """Each doubling costs less than three times as much: the best of some runs, above what is too little to measure."""
    sizes = [32_000, 64_000, 128_000]
    seconds = [max(0.005, min(_seconds(body(size)) for _ in range(5))) for size in sizes]
    peaks = [max(500_000, _peak(body(size))) for size in sizes]
    for before, after in (*itertools.pairwise(seconds), *itertools.pairwise(peaks)):
        assert after < 3 * before, (seconds, peaks)
    assert peaks[-1] < 100 * sizes[-1]


def _seconds(body: bytes) -> float:
    began = time.thread_time()
    find_in_json(body)
    return time.thread_time() - began


def _peak(body: bytes) -> int:
    """Bytes at once."""
    tracemalloc.start()
    find_in_json(body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":"' + b"4 " * 500_000 + b'"}',
        b'{"a":"' + b"1" * 1_000_000 + b'"}',
        b'{"a":"' + b"4 4 4 4 4 4 4 4 4 4 4 4 4 x " * 35_000 + b'"}',
        b"[" + b'"4 4 4 4 4 4 4 4 4 4 4 4 4 4",' * 30_000 + b"1]",
    ],
    ids=["blanks", "digits", "runs", "strings"],
)
def test_a_body_made_to_be_slow_is_not(body):
    began = time.process_time()
    find_in_json(body)
    assert time.process_time() - began < 1
