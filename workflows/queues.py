"""Task queues by latency class: a campaign never stands in a checkout's way."""

CHECKOUT = "checkout"
ORDERS = "orders"
NOTIFICATIONS = "notifications"

ALL = (CHECKOUT, ORDERS, NOTIFICATIONS)
