"""Orders, shipments, returns."""
