"""Task queues by latency class: a campaign never stands in a checkout's way."""

CHECKOUT = "checkout"
ORDERS = "orders"

ALL = (CHECKOUT, ORDERS)
