"""The currencies and amounts that a card payment may have; source: docs.stripe.com/currencies."""

from sandbox.stripe_shaped.errors import BadParameter, StripeError

# Amounts are plain minor units: JPY has none, BHD has three places, of which the last has to be 0.
_CODES = (
    "usd aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob brl bsd bwp byn bzd cad "
    "cdf chf clp cny cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gnf gtq gyd hkd hnl "
    "htg huf idr ils inr isk jmd jod jpy kes kgs khr kmf krw kwd kyd kzt lak lbp lkr lrd lsl mad mdl mga mkd "
    "mmk mnt mop mur mvr mwk mxn myr mzn nad ngn nio nok npr nzd omr pab pen pgk php pkr pln pyg qar ron rsd "
    "rub rwf sar sbd scr sek sgd shp sle sos srd std szl thb tjs tnd top try ttd twd tzs uah ugx uyu uzs vnd "
    "vuv wst xaf xcd xof xpf yer zar zmw"
)
CURRENCIES = frozenset(_CODES.split())
MINIMUM = {
    "usd": 50, "aed": 200, "aud": 50, "brl": 50, "cad": 50, "chf": 50, "czk": 1500, "dkk": 250, "eur": 50,
    "gbp": 30, "hkd": 400, "huf": 17500, "inr": 50, "jpy": 50, "mxn": 1000, "myr": 200, "nok": 300,
    "nzd": 50, "pln": 200, "ron": 200, "sek": 300, "sgd": 50, "thb": 1000,
}  # fmt: skip
MAXIMUM = 99_999_999
_WHOLE = "bif clp djf gnf jpy kmf krw mga pyg rwf ugx vnd vuv xaf xof xpf"
ZERO_DECIMALS = frozenset(_WHOLE.split())
THREE_DECIMALS = ("bhd", "jod", "kwd", "omr", "tnd")


def check_currency(code: str) -> str:
    """The code in lower case. Raises BadParameter when Stripe doesn't take it."""
    if code.lower() not in CURRENCIES:
        supported = ", ".join(sorted(CURRENCIES))
        message = f"Invalid currency: {code.lower()}. Stripe currently supports these currencies: {supported}"
        raise BadParameter(message, param="currency")
    return code.lower()


def check_amount(amount: int, currency: str) -> int:
    """The amount in minor units. Raises StripeError: `amount_too_small`, `amount_too_large`, or it can't be paid."""
    if amount < MINIMUM.get(currency, 1):
        raise StripeError("Amount is below the minimum charge amount.", "amount_too_small", "amount")
    if currency in THREE_DECIMALS and amount % 10:
        raise StripeError("Amounts in this currency must be evenly divisible by 10.", None, "amount")
    if amount > MAXIMUM:
        raise StripeError("Amount must be no more than 99999999.", "amount_too_large", "amount")
    return amount


def convert(amount: int, currency: str, to: str, rate: float) -> int:
    """Minor units of another currency; `rate`: units of it for one unit of the first, as rates are quoted."""
    return round(amount * rate * 10.0 ** (decimals(to) - decimals(currency)))


def decimals(currency: str) -> int:
    """The decimal places of a currency's amounts."""
    return 0 if currency in ZERO_DECIMALS else 3 if currency in THREE_DECIMALS else 2


def processing_fee(amount: int) -> int:
    """Stripe's fee for a captured amount: 2.9 % and 30, rounded, never more than the amount."""
    return min(amount, round(amount * 0.029) + 30)
