"""What is sold, and what is in stock."""
