"""Every connection to a system other than PostgreSQL; the only importers of vendor SDKs."""
