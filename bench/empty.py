"""The floor of every durable process: an empty workflow."""

from __future__ import annotations

from temporalio import workflow

QUEUE = "bench-floor"


@workflow.defn(name="BenchEmpty")
class Empty:
    def __init__(self) -> None:
        self._asked = False

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: self._asked)

    @workflow.update
    async def ask(self) -> str:
        self._asked = True
        return "done"
