"""Access tokens for trying the API by hand, signed with the stack's own key; never in production."""

from deploy.errors import StackError
from models.accounts.access import Principal, Role
from models.ids import new_id
from runtime.settings import Settings


def issue(settings: Settings, role: str, user: str | None) -> str:
    from api.tokens import Tokens

    if settings.production:
        raise StackError("tokens are not handed out in production", "sign in with POST /v1/auth/login")
    if role not in list(Role):
        raise StackError(f"there is no role {role}", f"choose one of {', '.join(Role)}")
    return Tokens.of(settings).issue(Principal(user_id=user or new_id("usr"), role=Role(role)))
