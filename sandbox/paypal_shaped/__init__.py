"""A PayPal for tests: orders v2, payments v2, transaction search, signed webhooks; never kinder than the original."""
