"""What must be true of the shop whenever it has come to rest, whatever was killed before."""
