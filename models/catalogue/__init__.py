"""Products, stock and the merchant's imports."""
