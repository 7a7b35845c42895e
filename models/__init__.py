"""The language of the shop: pure data and rules, no I/O."""
