"""Domain records and rules, without I/O (except `models/db`)."""
