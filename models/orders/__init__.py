"""Orders: events, shipping, returns, cancellation."""
