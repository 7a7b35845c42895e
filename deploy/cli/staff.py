"""`holdfast staff invite`: invites the first admin by mail, as long as no admin can do it over HTTP."""

from activities.gateways.secrets import Vault
from api.addresses import checked_email
from deploy.errors import StackError
from models.accounts.access import STAFF, Role
from models.db.repositories.accounts import staff
from models.db.session import Database
from models.errors import HoldfastError
from runtime.settings import Settings


def invite(settings: Settings, email: str, role: str) -> str:
    """Mails a link and returns the text to print; in production only while there is no admin."""
    if role not in STAFF:
        raise StackError(f"there is no staff role {role}", f"choose one of {', '.join(sorted(STAFF))}")
    database = Database(settings.database, pool_size=1, application="holdfast-staff")
    try:
        with database.transaction() as connection:
            if settings.production and staff.any_admin(connection):
                raise StackError("there is an admin already", "who can invite others: POST /v1/staff/invitations")
            staff.invite(
                connection,
                None,
                Vault.of(settings).link_digest,
                email=checked_email(email),
                role=Role(role),
                lifetime_seconds=settings.invitation_seconds,
                mails_per_hour=settings.account_mails_per_hour,
            )
    except HoldfastError as error:
        raise StackError(f"{email} was not invited", error.detail) from error
    finally:
        database.close()
    return f"An invitation to be {role} goes to {email} as soon as a worker runs."
