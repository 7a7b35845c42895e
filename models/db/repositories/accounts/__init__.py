"""Users, sessions, links, staff and API keys."""
