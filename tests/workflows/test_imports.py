"""What importing the workflows does to a process: nothing that a deterministic story could misuse."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import pkgutil, sys, importlib, workflows
for module in pkgutil.iter_modules(workflows.__path__, "workflows."):
    importlib.import_module(module.name)
print("\\n".join(sys.modules))
"""
FORBIDDEN = {
    "sqlalchemy", "psycopg", "alembic", "stripe", "sendgrid", "python_http_client", "redis", "requests", "httpx",
    "fastapi", "uvicorn", "models.db",
}  # fmt: skip


def test_all_workflows_together_load_neither_the_database_nor_a_vendor():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "workflows.checkout" in loaded
    assert "workflows.order" in loaded
    assert not {name for name in loaded for bad in FORBIDDEN if name == bad or name.startswith(f"{bad}.")}
