"""Search attributes of executions; the stack registers these names, workflows set them."""

ORDER_ID = "OrderId"
CART_ID = "CartId"
CHECKOUT_STATUS = "CheckoutStatus"
ORDER_STATUS = "OrderStatus"
USER_ID = "UserId"
LINK_STATE = "LinkState"
PAYMENT_METHOD_STATE = "PaymentMethodState"
PAYMENT_RETRY_STATE = "PaymentRetryState"

# Name → Temporal's type. Never personal data: the server stores them unencrypted.
SEARCH_ATTRIBUTES = {
    ORDER_ID: "Keyword",
    CART_ID: "Keyword",
    CHECKOUT_STATUS: "Keyword",
    ORDER_STATUS: "Keyword",
    USER_ID: "Keyword",
    LINK_STATE: "Keyword",
    PAYMENT_METHOD_STATE: "Keyword",
    PAYMENT_RETRY_STATE: "Keyword",
}
