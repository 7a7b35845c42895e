"""The crash test: simulated buyers, random kills, and every invariant."""
