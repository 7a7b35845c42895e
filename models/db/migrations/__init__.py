"""Migrations: dated, expand then contract, with a lock timeout."""
