"""Stand-ins for the providers: stricter than the originals, never kinder."""
