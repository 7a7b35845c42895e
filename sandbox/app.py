"""The sandbox as one ASGI app and one process: providers, control API and HTML pages."""

import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

from starlette.applications import Starlette
from starlette.routing import Route

from sandbox.config import SandboxConfig
from sandbox.control import control_routes
from sandbox.page import page_routes
from sandbox.pipeline import Pipeline
from sandbox.server import build_server, ended_by_sigterm
from sandbox.world import World

__all__ = ["SandboxConfig", "create_app", "serve"]


def create_app(config: SandboxConfig) -> Starlette:
    """The app; scripted connection resets and time-outs need it to run under `serve` or `build_server`.

    Raises sqlite3.OperationalError when another process holds the state file.
    """
    world = World(config)
    providers = [
        Route(f"/{root}/{{path:path}}", endpoint=Pipeline(world.store, world.calls, world.scripts, service))
        for root, service in world.services.items()
    ]

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        world.webhooks.resume()
        yield
        world.webhooks.stop()
        world.store.close()

    return Starlette(routes=[*providers, *control_routes(world), *page_routes(world)], lifespan=lifespan)


def serve(config: SandboxConfig, host: str = "127.0.0.1", port: int = 8010) -> None:
    """Runs until SIGTERM or SIGINT. Raises RuntimeError in production."""
    if os.environ.get("HOLDFAST_ENV") == "production":
        raise RuntimeError("The sandbox never runs in production.")
    server = build_server(create_app(config), host, port)
    in_main = threading.current_thread() is threading.main_thread()
    with ended_by_sigterm() if in_main else nullcontext():
        server.run()
