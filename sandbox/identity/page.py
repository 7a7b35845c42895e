"""The sign-in page of an identity provider."""

from html import escape


def sign_in_page(provider: str, client_id: str, form_action: str) -> str:
    """A form that posts to the URL that it was requested at."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Sign in</title></head>'
        f'<body style="font: 15px/1.6 system-ui; max-width: 30rem; margin: 3rem auto"><h1>{provider.title()}</h1>'
        f"<p>{escape(client_id)} wants to know who you are.</p>"
        f'<form method="post" action="{escape(form_action)}">'
        '<p><label>Name <input name="name" value="Ada Lovelace"></label></p>'
        '<p><label>E-mail <input name="email" value="ada@example.com"></label></p>'
        '<p><label>Your number here <input name="subject" value="1001"></label></p>'
        '<p><label><input type="checkbox" name="email_verified" value="true" checked> the address is verified</label>'
        '</p><p><button name="answer" value="yes">Sign in</button> '
        '<button name="answer" value="no">Cancel</button></p></form></body></html>'
    )
