"""The worker of the empty workflow, configured like the shop's workers."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack

from bench.empty import QUEUE, Empty
from runtime.settings import Settings
from workers.main import connect, runtime, worker
from workers.registry import Work


async def main() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    settings = Settings()
    client = await connect(settings, runtime(settings))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(worker(settings, client, QUEUE, Work([Empty], [], 24), stack))
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main())
