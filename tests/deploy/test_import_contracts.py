"""The contracts bite: an import that the architecture forbids is found and named."""

from pathlib import Path

import grimp
import pytest
from importlinter import Contract, ContractCheck

from deploy.checks.import_contracts import RoomContract, UnloadedContract, VendorContract, room_of


def checked(contract: type[Contract], imports: list[tuple[str, str]], **options: object) -> ContractCheck:
    graph = grimp.ImportGraph()
    for importer, imported in imports:
        graph.add_import(importer=importer, imported=imported, line_number=1, line_contents="import")
    made = contract(name="test", session_options={}, contract_options=options)
    return made.check(graph, verbose=False)


@pytest.mark.parametrize(
    ("module", "room"),
    [
        ("models.money", "models"),
        ("models.db.session", "models.db"),
        ("activities.gateways.mail", "activities.gateways"),
        ("modelsmith", None),
    ],
)
def test_the_innermost_room_counts(module: str, room: str | None) -> None:
    assert room_of(module) == room


def test_a_room_may_not_enter_another() -> None:
    check = checked(RoomContract, [("models.orders.orders", "models.db.session")], room="models")
    assert not check.kept
    assert check.metadata["breaches"] == ["- models.orders.orders (line 1) imports models.db.session"]


def test_a_room_enters_itself_and_those_allowed() -> None:
    imports = [("api.main", "api.routes"), ("api.main", "models.db.session"), ("api.main", "fastapi")]
    assert checked(RoomContract, imports, room="api", ours=["models.db"]).kept


def test_other_peoples_packages_are_listed_where_it_matters() -> None:
    imports = [("models.money", "decimal"), ("models.money", "pydantic"), ("models.money", "babel")]
    check = checked(RoomContract, imports, room="models", packages=["pydantic"])
    assert check.metadata["breaches"] == ["- models.money (line 1) imports babel"]


def test_a_vendor_has_one_keeper() -> None:
    imports = [("activities.gateways.pay", "stripe"), ("activities.payments.payments", "stripe")]
    check = checked(VendorContract, imports, packages=["stripe"], rooms=["activities.gateways"])
    assert check.metadata["breaches"] == ["- activities.payments.payments (line 1) imports stripe"]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An importable package `leaky`, for this process and the ones that it starts."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "leaky").mkdir()
    (tmp_path / "leaky" / "__init__.py").touch()
    return tmp_path / "leaky"


def test_what_an_import_loads_is_found_by_importing(package: Path) -> None:
    (package / "inner.py").write_text("import wave\n")
    check = checked(UnloadedContract, [], room="leaky", modules=["wave", "stripe"])
    assert check.metadata["breaches"] == ["- importing leaky loads wave"]


def test_an_import_inside_a_function_does_not_count(package: Path) -> None:
    (package / "inner.py").write_text("def sound():\n    import wave\n")
    assert checked(UnloadedContract, [], room="leaky", modules=["wave"]).kept
