"""A parcel carrier: rates, labels, tracking, and webhooks signed as Standard Webhooks has it."""
