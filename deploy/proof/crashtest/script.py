"""The script of a run: buyers, arrival times and behaviour, all derived from the seed beforehand."""

import random
from dataclasses import dataclass
from enum import StrEnum

VISA = "pm_card_visa"
PAYPAL = "paypal"
THREE_D_SECURE = "pm_card_threeDSecure2Required"
DECLINED = ("pm_card_visa_chargeDeclined", "pm_card_visa_chargeDeclinedInsufficientFunds", "pm_card_chargeCustomerFail")

HOT_SKUS = ("HF-TRAIL-JKT-S-RED", "HF-TRAIL-JKT-S-MOS", "HF-TRAIL-JKT-S-SLT")
OTHER_SKUS = ("HF-TRAIL-JKT-M-RED", "HF-TRAIL-JKT-M-MOS", "HF-TRAIL-JKT-M-SLT", "HF-TRAIL-JKT-L-RED")
PROMOTION = "FIRST100"

VICTIMS = ("api", "worker", "temporal", "postgres", "valkey", "sandbox")

AFTER = (76, 4, 4, 5, 3, 2, 3, 3)  # of a hundred orders, in the order of `After`

PER_SECOND = 4.0  # visits, on two cores that also restart what was killed
BETWEEN_KILLS = 3.2  # seconds, on average; with less the shop would always be starting


class AtTheBank(StrEnum):
    """The buyer's behaviour at the bank."""

    RETURN = "authenticates and comes back"
    CLOSE_TAB = "authenticates and closes the tab"
    LATE = "authenticates when the hold has run out"
    FAIL = "fails the authentication"
    WALK_AWAY = "never authenticates"


class Clicks(StrEnum):
    ONE = "one"
    SAME_KEY = "twice at once, with one key"
    OTHER_KEY = "twice at once, with two keys"


class After(StrEnum):
    """What happens to the order, if there is one."""

    NOTHING = "waits for the warehouse"
    SHIPPED = "shipped whole"
    IN_PARTS = "shipped in two parcels"
    CANCELLED = "cancelled by its buyer"
    CANCEL_RACES_SHIP = "cancelled and shipped at once"
    HELD = "held, released and shipped"
    RETURNED = "one unit is returned"
    REFUNDED = "refunded twice at once"


@dataclass(frozen=True)
class Visit:
    """One buyer. `at`: seconds from the beginning."""

    number: int
    at: float
    items: tuple[tuple[str, int], ...]
    method: str
    bank: AtTheBank
    clicks: Clicks
    second_try: bool  # after a decline, with a good card
    code: str | None
    customer: bool
    after: After = After.NOTHING


@dataclass(frozen=True)
class Kill:
    at: float
    victim: str


@dataclass(frozen=True)
class Script:
    visits: tuple[Visit, ...]
    kills: tuple[Kill, ...]
    hot_stock: int  # of each hot SKU
    promotion_limit: int


def write(seed: int, checkouts: int, kills: int) -> Script:
    """The same arguments give the same script."""
    dice = random.Random(seed)  # noqa: S311  chance, not secrets
    seconds = max(checkouts / PER_SECOND, kills * BETWEEN_KILLS)
    arrivals = sorted(dice.uniform(0, seconds) for _ in range(checkouts))
    visits = tuple(_visit(dice, number, at) for number, at in enumerate(arrivals, 1))
    victims = [VICTIMS[n % len(VICTIMS)] for n in range(kills)]
    dice.shuffle(victims)
    moments = sorted(dice.uniform(1, seconds + 2) for _ in victims)
    return Script(
        visits=visits,
        kills=tuple(Kill(at, victim) for at, victim in zip(moments, victims, strict=True)),
        hot_stock=max(2, checkouts // 15),
        promotion_limit=max(2, checkouts // 12),
    )


def _visit(dice: random.Random, number: int, at: float) -> Visit:
    """A fifth declined, a tenth 3-D Secure, a tenth PayPal; every third wants what is hot; a fifth has a code."""
    pay = dice.random()
    method = dice.choice(DECLINED) if pay < 0.2 else THREE_D_SECURE if pay < 0.3 else PAYPAL if pay < 0.4 else VISA
    wanted = [dice.choice(HOT_SKUS)] if dice.random() < 0.35 else []
    wanted += dice.sample(OTHER_SKUS, dice.choice((1, 1, 2)))
    return Visit(
        number=number,
        at=at,
        items=tuple((sku, dice.choice((1, 1, 1, 2))) for sku in wanted),
        method=method,
        bank=dice.choice(list(AtTheBank)),
        clicks=dice.choices(list(Clicks), weights=(8, 1, 1))[0],
        second_try=dice.random() < 0.5,
        code=PROMOTION if dice.random() < 0.2 else None,
        customer=dice.random() < 0.25,
        after=dice.choices(list(After), weights=AFTER)[0],
    )
