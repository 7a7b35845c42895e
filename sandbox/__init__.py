"""The outside world in a box: stricter than the originals, never kinder."""
