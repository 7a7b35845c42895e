"""A PayPal for tests: orders v2, payments v2, transaction search and signed webhooks, never kinder than it."""
