"""Customers."""

from sandbox.store import Row
from sandbox.stripe_shaped import payment_methods
from sandbox.stripe_shaped.account import Account, Ask
from sandbox.stripe_shaped.errors import Missing
from sandbox.stripe_shaped.listing import page
from sandbox.stripe_shaped.listing import search as search_all
from sandbox.stripe_shaped.shapes import render


def create(account: Account, ask: Ask) -> Row:
    """POST /v1/customers."""
    customer = account.new("customer", metadata={})
    method_name = ask.params.pop("payment_method", None)
    _keep(account, customer, ask.params)
    if method_name:
        payment_methods.attach_to(account, payment_methods.resolve(account, method_name), customer["id"])
    account.save(customer)
    account.emit("customer.created", customer)
    return render(customer)


def _keep(account: Account, customer: Row, params: Row) -> None:
    for name, value in params.items():
        if name == "metadata":
            customer["metadata"] = payment_methods.merged(customer["metadata"], value)
        elif name == "invoice_settings":
            _check_default(account, customer, value.get("default_payment_method"))
            customer[name] = {**render(customer)[name], **value}
        else:
            customer[name] = None if value == "" else value


def _check_default(account: Account, customer: Row, method_id: str | None) -> None:
    if method_id:
        method = account.find("payment_method", method_id)
        if method is None or method.get("customer") != customer["id"]:
            raise Missing("PaymentMethod", method_id, "invoice_settings[default_payment_method]")


def update(account: Account, ask: Ask) -> Row:
    """POST /v1/customers/{id}."""
    customer = account.get("customer", ask.id)
    _keep(account, customer, ask.params)
    account.save(customer)
    account.emit("customer.updated", customer)
    return render(customer)


def retrieve(account: Account, ask: Ask) -> Row:
    """GET /v1/customers/{id}; a deleted one says so."""
    customer = account.find("customer", ask.id)
    if customer is None:
        if account.find("deleted_customer", ask.id):
            return {"id": ask.id, "object": "customer", "deleted": True}
        raise Missing("customer", ask.id)
    return render(customer)


def delete(account: Account, ask: Ask) -> Row:
    """DELETE /v1/customers/{id}: final, and their payment methods come off."""
    customer = account.get("customer", ask.id)
    account.store.drop("customer", ask.id)
    account.store.put("deleted_customer", ask.id, {"id": ask.id})
    for method in account.rows("payment_method"):
        if method.get("customer") == ask.id:
            method.update(customer=None, _spent=True)
            account.save(method)
    account.emit("customer.deleted", customer)
    return {"id": ask.id, "object": "customer", "deleted": True}


def list_all(account: Account, ask: Ask) -> Row:
    """GET /v1/customers, newest first; the e-mail filter minds case."""
    email = ask.params.get("email")
    found = (row for row in account.newest("customer") if email in (None, row.get("email")))
    return page(found, ask.params, "/v1/customers")


def search(account: Account, ask: Ask) -> Row:
    """GET /v1/customers/search."""
    return search_all(account, "customer", ask.params)
