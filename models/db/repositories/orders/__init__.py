"""Orders: events, commands, shipments, refunds, returns and search."""
