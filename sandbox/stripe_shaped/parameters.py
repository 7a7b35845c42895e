"""Which parameters every endpoint takes, after Stripe's API reference for 2026-10-28; others are refused."""

from sandbox.stripe_shaped.schema import (
    Reader,
    Schema,
    anything,
    boolean,
    boolean_or,
    choice,
    group,
    integer,
    metadata,
    moment,
    page_size,
    positive,
    strings,
    text,
)

_ADDRESS = group(city=text, country=text, line1=text, line2=text, postal_code=text, state=text)
_BILLING = group(address=_ADDRESS, email=text, name=text, phone=text, tax_id=text)
_SHIPPING = group(address=_ADDRESS, name=text, phone=text, carrier=text, tracking_number=text)
_CARD = group(number=text, exp_month=integer, exp_year=integer, cvc=text, token=text, networks=anything)
_PAGE: dict[str, Reader] = {"limit": page_size, "starting_after": text, "ending_before": text}
_CREATED_PAGE: dict[str, Reader] = {**_PAGE, "created": moment}

_METHOD_DATA = group(
    type=text, card=_CARD, billing_details=_BILLING, metadata=metadata, allow_redisplay=text, radar_options=anything
)
_CARD_OPTIONS = group(
    capture_method=choice("manual", ""),
    request_multicapture=choice("if_available", "never"),
    request_three_d_secure=choice("any", "automatic", "challenge"),
    request_extended_authorization=choice("if_available", "never"),
    request_incremental_authorization=choice("if_available", "never"),
    request_overcapture=choice("if_available", "never"),
    setup_future_usage=choice("", "none", "off_session", "on_session"),
    statement_descriptor_suffix_kana=text,
    statement_descriptor_suffix_kanji=text,
    cvc_token=text,
    installments=anything,
    mandate_options=anything,
    moto=boolean,
    network=text,
    three_d_secure=anything,
)
_OPTIONS = group(card=_CARD_OPTIONS, link=anything, paypal=anything)
_AUTOMATIC = group(enabled=boolean, allow_redirects=choice("always", "never"))

# What PaymentIntents take at birth, at confirmation and in between.
_INTENT: dict[str, Reader] = {
    "allowed_payment_method_types": strings,
    "amount_details": anything,
    "capture_method": choice("automatic", "automatic_async", "manual"),
    "excluded_payment_method_types": strings,
    "hooks": anything,
    "payment_details": anything,
    "payment_method": text,
    "payment_method_data": _METHOD_DATA,
    "payment_method_options": _OPTIONS,
    "payment_method_types": strings,  # refused by the service from 2026-09-30 on, with its own code
    "receipt_email": text,
    "setup_future_usage": choice("", "off_session", "on_session"),
    "shipping": _SHIPPING,
}
_CONFIRMING: dict[str, Reader] = {
    "error_on_requires_action": boolean,
    "mandate": text,
    "mandate_data": anything,
    "off_session": boolean_or("one_off", "recurring"),
    "radar_options": anything,
    "return_url": text,
    "use_stripe_sdk": boolean,
}
_DESCRIBING: dict[str, Reader] = {
    "amount": positive,
    "application_fee_amount": integer,
    "currency": text,
    "customer": text,
    "description": text,
    "metadata": metadata,
    "payment_method_configuration": text,
    "statement_descriptor": text,
    "statement_descriptor_suffix": text,
    "transfer_data": anything,
    "transfer_group": text,
}

PAYMENT_INTENT_CREATE = Schema(
    {
        **_INTENT,
        **_CONFIRMING,
        **_DESCRIBING,
        "automatic_payment_methods": _AUTOMATIC,
        "confirm": boolean,
        "confirmation_method": choice("automatic", "manual"),
        "on_behalf_of": text,
    },
    required=("amount", "currency"),
)
PAYMENT_INTENT_UPDATE = Schema({**_INTENT, **_DESCRIBING})
PAYMENT_INTENT_CONFIRM = Schema({**_INTENT, **_CONFIRMING, "amount_to_confirm": positive})
PAYMENT_INTENT_CAPTURE = Schema(
    {
        "amount_details": anything,
        "amount_to_capture": positive,
        "application_fee_amount": integer,
        "final_capture": boolean,
        "hooks": anything,
        "metadata": metadata,
        "payment_details": anything,
        "statement_descriptor": text,
        "statement_descriptor_suffix": text,
        "transfer_data": anything,
    }
)
PAYMENT_INTENT_CANCEL = Schema(
    {"cancellation_reason": choice("duplicate", "fraudulent", "requested_by_customer", "abandoned")}
)
PAYMENT_INTENT_RETRIEVE = Schema({"client_secret": text})
PAYMENT_INTENT_LIST = Schema({**_CREATED_PAGE, "customer": text})
SEARCH = Schema({"query": text, "limit": page_size, "page": text}, required=("query",))

_SETUP: dict[str, Reader] = {
    "allowed_payment_method_types": strings,
    "attach_to_self": boolean,
    "customer": text,
    "description": text,
    "excluded_payment_method_types": strings,
    "metadata": metadata,
    "payment_method": text,
    "payment_method_configuration": text,
    "payment_method_data": _METHOD_DATA,
    "payment_method_options": _OPTIONS,
    "payment_method_types": strings,
}
_SETUP_CONFIRM: dict[str, Reader] = {
    "mandate_data": anything,
    "payment_method": text,
    "payment_method_data": _METHOD_DATA,
    "payment_method_options": _OPTIONS,
    "return_url": text,
    "use_stripe_sdk": boolean,
}
SETUP_INTENT_CREATE = Schema(
    {
        **_SETUP,
        **_SETUP_CONFIRM,
        "automatic_payment_methods": _AUTOMATIC,
        "confirm": boolean,
        "on_behalf_of": text,
        "single_use": anything,
        "usage": choice("off_session", "on_session"),
    }
)
SETUP_INTENT_UPDATE = Schema(_SETUP)
SETUP_INTENT_CONFIRM = Schema(_SETUP_CONFIRM)
SETUP_INTENT_CANCEL = Schema({"cancellation_reason": choice("abandoned", "duplicate", "requested_by_customer")})
SETUP_INTENT_LIST = Schema({**_CREATED_PAGE, "customer": text, "payment_method": text})

_CUSTOMER: dict[str, Reader] = {
    "address": _ADDRESS,
    "balance": integer,
    "business_name": text,
    "description": text,
    "email": text,
    "individual_name": text,
    "invoice_prefix": text,
    "invoice_settings": group(
        default_payment_method=text, custom_fields=anything, footer=text, rendering_options=anything
    ),
    "metadata": metadata,
    "name": text,
    "phone": text,
    "preferred_locales": strings,
    "shipping": _SHIPPING,
    "tax": anything,
    "tax_exempt": choice("", "exempt", "none", "reverse"),
}
CUSTOMER_CREATE = Schema({**_CUSTOMER, "payment_method": text})
CUSTOMER_UPDATE = Schema(_CUSTOMER)
CUSTOMER_LIST = Schema({**_CREATED_PAGE, "email": text})

PAYMENT_METHOD_CREATE = Schema(
    {
        "allow_redisplay": text,
        "billing_details": _BILLING,
        "card": _CARD,
        "metadata": metadata,
        "radar_options": anything,
        "type": text,
    },
    required=("type",),
)
PAYMENT_METHOD_UPDATE = Schema(
    {
        "allow_redisplay": text,
        "billing_details": _BILLING,
        "card": group(exp_month=integer, exp_year=integer, networks=anything),
        "metadata": metadata,
    }
)
PAYMENT_METHOD_ATTACH = Schema({"customer": text}, required=("customer",))
PAYMENT_METHOD_LIST = Schema({**_PAGE, "allow_redisplay": text, "customer": text, "type": text})

REFUND_CREATE = Schema(
    {
        "amount": positive,
        "charge": text,
        "instructions_email": text,
        "metadata": metadata,
        "payment_intent": text,
        "reason": choice("duplicate", "fraudulent", "requested_by_customer"),
        "refund_application_fee": boolean,
        "reverse_transfer": boolean,
    }
)
REFUND_UPDATE = Schema({"metadata": metadata})
BY_PAYMENT_LIST = Schema({**_CREATED_PAGE, "charge": text, "payment_intent": text})

CHARGE_UPDATE = Schema(
    {
        "customer": text,
        "description": text,
        "fraud_details": anything,
        "metadata": metadata,
        "receipt_email": text,
        "shipping": _SHIPPING,
        "transfer_group": text,
    }
)
CHARGE_LIST = Schema({**_CREATED_PAGE, "customer": text, "payment_intent": text, "transfer_group": text})

DISPUTE_UPDATE = Schema({"evidence": anything, "metadata": metadata, "submit": boolean})
EVENT_LIST = Schema({**_CREATED_PAGE, "delivery_success": boolean, "type": text, "types": strings})
BALANCE_LIST = Schema({**_CREATED_PAGE, "currency": text, "payout": text, "source": text, "type": text})
NOTHING = Schema()
