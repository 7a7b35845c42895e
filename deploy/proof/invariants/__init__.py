"""What must hold whenever the shop is idle, whatever was killed before."""
