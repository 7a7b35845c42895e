"""Creates an account of each role, in development."""

from activities.gateways.hashing import HASHER, matches
from deploy.demo.people import EMAILS
from deploy.errors import StackError
from models.accounts.access import Role
from models.accounts.passwords import normalised
from models.db.repositories.accounts import demo_accounts
from models.db.session import Database
from runtime.settings import Settings


def seed_accounts(settings: Settings, database: Database) -> None:
    """One of each role with the demo password; repeated, it changes nothing but a different password."""
    if settings.production:
        raise StackError("demo accounts are not made in production", "invite staff: holdfast staff invite")
    password = normalised(settings.demo_password.get_secret_value())
    with database.transaction() as connection:
        kept = demo_accounts.hashes(connection, EMAILS)
        good = {hashed for hashed in set(kept.values()) if hashed and matches(hashed, password)}
        to_do = [role for role in Role if kept.get(role) not in good]
        new = HASHER.hash(password) if to_do else ""
        for role in to_do:
            demo_accounts.put(connection, role, EMAILS[role], new)
