"""Orders: shipping, returns, cancellation."""
