"""Every connection to the world outside PostgreSQL; the only importers of vendor SDKs."""
