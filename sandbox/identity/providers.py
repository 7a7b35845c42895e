"""The differences between the two providers: paths, issuer, claims.

Sources: developers.google.com/identity/openid-connect/openid-connect and accounts.google.com's discovery document;
developers.facebook.com, "Manually Build a Login Flow" and "OIDC Code Flow with PKCE". Each original spreads its paths
over several hosts; here they share one prefix.
"""

from dataclasses import dataclass

from sandbox.store import Row


@dataclass(frozen=True)
class Provider:
    """Paths are what follows `/idp/{name}`."""

    name: str
    authorize: str
    token: str
    userinfo: str
    keys: str
    token_methods: frozenset[str]

    def claims(self, person: Row) -> Row:
        """The claims of an ID token, besides `sub`."""
        if self.name == "google":
            return {"email": person["email"], "email_verified": person["email_verified"], "name": person["name"]}
        return {"name": person["name"], **_facebook_address(person)}

    def profile(self, person: Row, fields: set[str]) -> Row:
        """The response of the user endpoint; Facebook returns the fields that are requested."""
        if self.name == "google":
            return {"sub": person["subject"], **self.claims(person)}
        known = {"id": person["subject"], "name": person["name"], **_facebook_address(person)}
        return {name: value for name, value in known.items() if name == "id" or name in fields}


def _facebook_address(person: Row) -> Row:
    """Facebook has no `email_verified`: it omits an address that it does not hold for valid."""
    return {"email": person["email"]} if person["email"] and person["email_verified"] else {}


PROVIDERS = {
    provider.name: provider
    for provider in (
        Provider(
            "google",
            "/o/oauth2/v2/auth",
            "/token",
            "/v1/userinfo",
            "/oauth2/v3/certs",
            token_methods=frozenset({"POST"}),
        ),
        Provider(
            "facebook",
            "/dialog/oauth",
            "/oauth/access_token",
            "/me",
            "/.well-known/oauth/openid/jwks/",
            token_methods=frozenset({"GET", "POST"}),
        ),
    )
}
