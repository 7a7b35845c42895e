"""The demo shop: its files, its people, and one order."""
