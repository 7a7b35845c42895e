"""The public shapes of stored rows: full Stripe objects, with every unset field present as null."""

from typing import Any

from sandbox.store import Row

_NOTHING: dict[str, None] = {}


def _nulls(names: str) -> Row:
    return dict.fromkeys(names.split())


_TEMPLATES: dict[str, Row] = {
    "payment_intent": {
        **_nulls(
            "allowed_payment_method_types amount_details application application_fee_amount "
            "automatic_payment_methods canceled_at cancellation_reason client_secret customer customer_account "
            "description excluded_payment_method_types last_payment_error latest_charge next_action on_behalf_of "
            "payment_method payment_method_configuration_details processing receipt_email review "
            "setup_future_usage shipping source statement_descriptor statement_descriptor_suffix transfer_data "
            "transfer_group"
        ),
        "amount_capturable": 0,
        "amount_received": 0,
        "capture_method": "automatic_async",
        "confirmation_method": "automatic",
        "livemode": False,
        "payment_method_options": {},
        "payment_method_types": ["card"],
    },
    "setup_intent": {
        **_nulls(
            "allowed_payment_method_types application automatic_payment_methods cancellation_reason "
            "client_secret customer customer_account description excluded_payment_method_types flow_directions "
            "last_setup_error latest_attempt mandate next_action on_behalf_of payment_method "
            "payment_method_configuration_details single_use_mandate"
        ),
        "livemode": False,
        "payment_method_options": {},
        "payment_method_types": ["card"],
        "usage": "off_session",
    },
    "charge": {
        **_nulls(
            "application application_fee application_fee_amount balance_transaction customer description "
            "failure_balance_transaction failure_code failure_message on_behalf_of receipt_email receipt_number "
            "receipt_url review shipping source source_transfer statement_descriptor statement_descriptor_suffix "
            "transfer_data transfer_group"
        ),
        "amount_captured": 0,
        "amount_refunded": 0,
        "calculated_statement_descriptor": "SANDBOX",
        "disputed": False,
        "fraud_details": {},
        "livemode": False,
        "refunded": False,
    },
    "refund": _nulls(
        "balance_transaction customer description destination_details failure_balance_transaction "
        "failure_reason instructions_email next_action payment_method pending_reason reason receipt_number "
        "source_transfer_reversal transfer_reversal"
    ),
    "customer": {
        **_nulls(
            "address business_name currency customer_account default_source description discount email "
            "individual_name name phone shipping test_clock"
        ),
        "balance": 0,
        "delinquent": False,
        "invoice_prefix": "SANDBOX",
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": False,
        "next_invoice_sequence": 1,
        "preferred_locales": [],
        "tax_exempt": "none",
    },
    "payment_method": {
        "allow_redisplay": "unspecified",
        "customer": None,
        "customer_account": None,
        "livemode": False,
    },
    "dispute": {
        "enhanced_eligibility_types": [],
        "evidence": {},
        "livemode": False,
        "metadata": {},
        "network_reason_code": "10",
    },
    "balance_transaction": {"balance_type": "payments", "description": None, "exchange_rate": None},
}


def render(row: Row) -> Row:
    """The public object: its fields over the type's nulls; names that begin with `_` stay inside."""
    template: Row = _TEMPLATES.get(row["object"], _NOTHING)
    return {**template, **{key: value for key, value in row.items() if key[0] != "_"}}


def card_details(brand: str, number: str, exp_month: int, exp_year: int) -> Row:
    """The `card` hash of a payment method."""
    return {
        "brand": brand,
        "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
        "country": "US",
        "display_brand": brand,
        "exp_month": exp_month,
        "exp_year": exp_year,
        "fingerprint": f"sandbox{number[-10:]}",
        "funding": "credit",
        "generated_from": None,
        "last4": number[-4:],
        "networks": {"available": [brand], "preferred": None},
        "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": True},
        "wallet": None,
    }


def outcome(decline_code: str | None) -> Row:
    """A charge's `outcome`: authorised, or declined by the issuer."""
    accepted = decline_code is None
    return {
        "advice_code": None,
        "network_advice_code": None,
        "network_decline_code": None if accepted else "05",
        "network_status": "approved_by_network" if accepted else "declined_by_network",
        "reason": decline_code,
        "risk_level": "normal",
        "seller_message": "Payment complete." if accepted else "The bank declined the payment.",
        "type": "authorized" if accepted else "issuer_declined",
    }


def billing(given: Row | None) -> Row:
    """Billing details with every field present."""
    blank: Row = {"address": None, "email": None, "name": None, "phone": None, "tax_id": None}
    fields = ("city", "country", "line1", "line2", "postal_code", "state")
    details = {**blank, **(given or {})}
    address: dict[str, Any] = details["address"] or {}
    details["address"] = {name: address.get(name) for name in fields}
    return details
