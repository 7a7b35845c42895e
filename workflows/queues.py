"""Task queues, one per latency class: a mail campaign doesn't delay a checkout."""

CHECKOUT = "checkout"
ORDERS = "orders"
NOTIFICATIONS = "notifications"

ALL = (CHECKOUT, ORDERS, NOTIFICATIONS)
