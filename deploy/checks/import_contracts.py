"""Custom import contracts: which packages a package may import, which packages alone may import a vendor's SDK, and
which modules an import must never load.
"""

import json
import pkgutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import Any

import grimp
from importlinter import Contract, ContractCheck, fields, output

ROOMS = (
    "runtime",
    "models",
    "models.db",
    "activities",
    "activities.gateways",
    "workflows",
    "workers",
    "api",
    "sandbox",
    "deploy",
    "bench",
)


def room_of(module: str) -> str | None:
    """The innermost configured package that contains the module; None for third-party modules."""
    inside = [room for room in ROOMS if _is_in(module, room)]
    return max(inside, key=len, default=None)


def _is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


class _Listed(Contract):
    """A contract whose breaches are a list of lines."""

    def render_broken_contract(self, check: ContractCheck) -> None:
        for line in check.metadata["breaches"]:
            output.print_error(line, bold=False)


class RoomContract(_Listed):
    """`room` imports only the packages `ours`; where `packages` is given, of third-party ones only those."""

    room: Any = fields.StringField()
    ours: Any = fields.SetField(subfield=fields.StringField(), required=False)
    packages: Any = fields.SetField(subfield=fields.StringField(), required=False)

    def check(self, graph: grimp.ImportGraph, verbose: bool) -> ContractCheck:
        breaches = [
            _chain(graph, importer, imported)
            for importer in sorted(graph.modules)
            if room_of(importer) == self.room
            for imported in sorted(graph.find_modules_directly_imported_by(importer))
            if not self._allows(imported)
        ]
        return ContractCheck(kept=not breaches, metadata={"breaches": breaches})

    def _allows(self, imported: str) -> bool:
        if room := room_of(imported):
            return room == self.room or room in (self.ours or ())
        package = imported.split(".")[0]
        return not self.packages or package in sys.stdlib_module_names or package in self.packages


class VendorContract(_Listed):
    """Only the listed packages import the vendor's packages."""

    packages: Any = fields.SetField(subfield=fields.StringField())
    rooms: Any = fields.SetField(subfield=fields.StringField())

    def check(self, graph: grimp.ImportGraph, verbose: bool) -> ContractCheck:
        breaches = [
            _chain(graph, importer, package)
            for package in self._present(graph.modules)
            for importer in sorted(graph.find_modules_that_directly_import(package))
            if room_of(importer) not in self.rooms
        ]
        return ContractCheck(kept=not breaches, metadata={"breaches": breaches})

    def _present(self, modules: Iterable[str]) -> Iterator[str]:
        return (module for module in sorted(modules) if module.split(".")[0] in self.packages)


class UnloadedContract(_Listed):
    """Importing all of `room` loads none of `modules`, directly or indirectly. Tested in a fresh interpreter.

    A derived import graph would also count imports inside functions, which don't run on import.
    """

    room: Any = fields.StringField()
    modules: Any = fields.SetField(subfield=fields.StringField())

    def check(self, graph: grimp.ImportGraph, verbose: bool) -> ContractCheck:
        loaded = modules_loaded_by(self.room)
        breaches = [f"- importing {self.room} loads {module}" for module in sorted(loaded & set(self.modules))]
        return ContractCheck(kept=not breaches, metadata={"breaches": breaches})


def modules_loaded_by(package: str) -> set[str]:
    """`sys.modules` of a fresh interpreter that has imported the package and all its modules."""
    spec = find_spec(package)
    inside = pkgutil.walk_packages(spec.submodule_search_locations if spec else None, f"{package}.")
    lines = [f"import {name}" for name in (package, *(module.name for module in inside))]
    code = "\n".join([*lines, "import sys, json", "print(json.dumps(list(sys.modules)))"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def _chain(graph: grimp.ImportGraph, importer: str, imported: str) -> str:
    details = graph.get_import_details(importer=importer, imported=imported)
    lines = ", ".join(str(detail["line_number"]) for detail in details)
    return f"- {importer} (line {lines}) imports {imported}"
