"""Routes, one file an area of the contract."""
