"""The command line, `holdfast`: each command calls the module that implements it."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from runtime.settings import Settings

app = typer.Typer(
    name="holdfast",
    help="Holdfast, the commerce backend whose every process is durable.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
audit_app = typer.Typer(help="The audit log.", no_args_is_help=True)
app.add_typer(audit_app, name="audit")
ledger_app = typer.Typer(help="The ledger.", no_args_is_help=True)
app.add_typer(ledger_app, name="ledger")
staff_app = typer.Typer(help="The staff.", no_args_is_help=True)
app.add_typer(staff_app, name="staff")
orders_app = typer.Typer(help="The orders.", no_args_is_help=True)
app.add_typer(orders_app, name="orders")
outbox_app = typer.Typer(help="The outbox's dead letters.", no_args_is_help=True)
app.add_typer(outbox_app, name="outbox")
deploy_app = typer.Typer(help="The workers' builds: roll forward, ramp, roll back.", no_args_is_help=True)
app.add_typer(deploy_app, name="deploy")

Parent = Annotated[int | None, typer.Option(help="Stop when this parent process ends (make says so).")]
BuildId = Annotated[str, typer.Argument(metavar="BUILD", help="What HOLDFAST_WORKER_BUILD_ID is for its workers.")]
Queues = Annotated[list[str] | None, typer.Option("--queue", help="Task queue to serve; repeatable. All if none.")]


@app.command()
def up(parent: Parent = None) -> None:
    """Bring up the whole local stack and keep it running."""
    from deploy.stack.up import run

    with report_errors():
        run(read_settings(), parent)


@app.command()
def api() -> None:
    """Serve the HTTP API."""
    from deploy.cli.serve import serve_api

    serve_api(serving_settings())


@app.command()
def worker(queue: Queues = None) -> None:
    """Run workflows and activities of the queues named."""
    from workers.main import run

    run(serving_settings(), queue or [])


@app.command()
def sandbox(state: Annotated[Path | None, typer.Option(help="A file in which its state survives.")] = None) -> None:
    """Play the providers: payments, mail, carriers."""
    from deploy.cli.serve import serve_sandbox

    with report_errors():
        serve_sandbox(read_settings(), state)


@app.command()
def migrate(seed: Annotated[bool, typer.Option("--seed", help="And fill the demo shop.")] = False) -> None:
    """Bring the database to the newest schema."""
    from models.db.migrate import upgrade

    settings = read_settings()
    upgrade(settings.database)
    if seed:
        fill_demo_shop(settings)


@app.command()
def seed() -> None:
    """Fill the demo shop; repeated, it changes nothing."""
    fill_demo_shop(read_settings())


def fill_demo_shop(settings: Settings) -> None:
    from deploy.demo.seed import seed

    with report_errors():
        seed(settings)


@app.command()
def demo() -> None:
    """Place one order through the HTTP API of the running stack."""
    from deploy.demo.order import place

    with report_errors():
        print(place(read_settings()).summary)


@app.command()
def crashtest(
    seed: Annotated[int | None, typer.Option(help="Repeat a run; random if none.")] = None,
    checkouts: Annotated[int, typer.Option(min=1)] = 200,
    kills: Annotated[int, typer.Option(min=0)] = 30,
) -> None:
    """Kill processes and engines at random under load; exit 0 only when every invariant held."""
    from deploy.proof.crashtest.main import run

    with report_errors():
        raise typer.Exit(run(seed=seed, checkouts=checkouts, kills=kills))


@app.command()
def replay(folder: Annotated[Path, typer.Argument(metavar="DIR", exists=True, file_okay=False)]) -> None:
    """Replay recorded histories against today's workflow code."""
    from workers.replay import replay as replay_all

    status = 0
    try:
        replay_all(folder)
    except SystemExit as error:
        print(error.code, file=sys.stderr)
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    # A thread of the SDK that still wants the interpreter, as it is taken down in order, aborts the process.
    os._exit(status)


@app.command()
def token(
    role: Annotated[str, typer.Option(help="customer, support, warehouse, merchandiser or admin.")],
    user: Annotated[str | None, typer.Option(help="A user's id; a new one if none.")] = None,
) -> None:
    """Print an access token; in development only."""
    from deploy.cli.tokens import issue

    with report_errors():
        print(issue(read_settings(), role, user))


@staff_app.command("invite")
def invite_staff(
    email: Annotated[str, typer.Option(help="Where the link goes; nothing secret is printed.")],
    role: Annotated[str, typer.Option(help="support, warehouse, merchandiser or admin.")] = "admin",
) -> None:
    """Invite the first admin; in production only as long as there is none."""
    from deploy.cli.staff import invite

    with report_errors():
        print(invite(read_settings(), email, role))


@audit_app.command("verify")
def verify_audit(
    head: Annotated[str | None, typer.Option(help="The head that an earlier run printed: must still be there.")] = None,
) -> None:
    """Check every row's hash and place; exit 1 and name the first bad row."""
    from deploy.cli.audit import verify

    with report_errors():
        good, report = verify(read_settings(), head)
    print(report)
    raise typer.Exit(0 if good else 1)


@deploy_app.command("status")
def deploy_status() -> None:
    """List the builds, newest first: status, and how many executions are pinned to each."""
    from deploy.cli.builds import Builds, ask, format_table

    with report_errors():
        print(format_table(ask(read_settings(), Builds.status)))


@deploy_app.command("current")
def deploy_current(build: BuildId) -> None:
    """Route new executions, and those that move with the builds, to that build."""
    from deploy.cli.builds import ask

    with report_errors():
        ask(read_settings(), lambda builds: builds.make_current(build))


@deploy_app.command("ramp")
def deploy_ramp(build: BuildId, percent: Annotated[float, typer.Argument(min=0, max=100)]) -> None:
    """Route that percentage of them to that build; 0 ends the ramp."""
    from deploy.cli.builds import ask

    with report_errors():
        ask(read_settings(), lambda builds: builds.ramp(build, percent))


@deploy_app.command("back")
def deploy_back(build: BuildId) -> None:
    """Make an older build current again; executions that ran on newer builds stay with them: keep their workers."""
    from deploy.cli.builds import ask

    with report_errors():
        held = ask(read_settings(), lambda builds: builds.roll_back(build))
    print(f"{build} is the current build; {held} executions stay with the builds that they have run on.")


@deploy_app.command("release")
def deploy_release(build: BuildId) -> None:
    """Let the executions that `back` has held on that build move with the builds again."""
    from deploy.cli.builds import ask

    with report_errors():
        print(f"{ask(read_settings(), lambda builds: builds.release(build))} executions may leave {build}.")


@ledger_app.command("check")
def check_ledger() -> None:
    """Compare the ledger with itself and with the payments; exit 1 and name what differs."""
    from deploy.cli.ledger import check

    with report_errors():
        good, report = check(read_settings())
    print(report)
    raise typer.Exit(0 if good else 1)


@app.command()
def reconcile() -> None:
    """Compare the providers' lists with the ledger now, beside the schedule."""
    from deploy.cli.reconcile import trigger

    with report_errors():
        print(trigger(read_settings()))


@orders_app.command("rebuild")
def rebuild_orders(
    check: Annotated[bool, typer.Option("--check", help="Only compare; exit 1 on a difference.")] = False,
) -> None:
    """Rebuild every order's row and search terms from its events."""
    from deploy.cli.orders import rebuild

    with report_errors():
        raise typer.Exit(0 if rebuild(read_settings(), print, check=check) else 1)


@outbox_app.command("list")
def list_dead_letters(consumer: Annotated[str | None, typer.Option(help="Of this consumer alone.")] = None) -> None:
    """Show the oldest dead letters, each with its last error."""
    from deploy.cli.outbox import dead_letters

    with report_errors():
        print(dead_letters(read_settings(), consumer))


@outbox_app.command("requeue")
def requeue_dead_letters(
    ids: Annotated[list[int] | None, typer.Argument(metavar="ID…", help="As `list` shows them.")] = None,
    consumer: Annotated[str | None, typer.Option(help="All of this consumer.")] = None,
) -> None:
    """Deliver dead letters again, behind what their aggregates have published since."""
    from deploy.cli.outbox import requeue

    with report_errors():
        print(f"{requeue(read_settings(), ids or [], consumer)} requeued")


@app.command()
def reset() -> None:
    """Delete the data folder; the next `up` starts over."""
    from deploy.stack.folder import delete

    with report_errors():
        print(delete(read_settings().data_dir))


def serving_settings() -> Settings:
    """Nobody serves buyers with the sandbox's secrets because a variable was forgotten: the environment is named."""
    if "HOLDFAST_ENV" not in os.environ:
        sys.exit("error: HOLDFAST_ENV is not set: production, or development (as `holdfast up` sets it)")
    return read_settings()


def read_settings() -> Settings:
    """From HOLDFAST_*; an invalid setting ends the program with one line that names it."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "".join(f" HOLDFAST_{str(part).upper()}" for part in first["loc"])
        sys.exit(f"error: bad setting{name}: {first['msg']}")


@contextmanager
def report_errors() -> Iterator[None]:
    """Prints a StackError without a traceback."""
    from deploy.errors import StackError

    try:
        yield
    except StackError as error:
        sys.exit(f"error: {error}")
