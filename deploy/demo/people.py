"""The demo accounts: one of each role."""

from models.accounts.access import Role

EMAILS = {role: f"{role}@holdfast.example" for role in Role}
