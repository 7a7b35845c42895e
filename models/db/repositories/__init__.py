"""Repositories: the queries and transactions of each aggregate."""
