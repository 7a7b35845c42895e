"""`python -m deploy.cli`: as `holdfast`, where that is not on the PATH."""

from deploy.cli.main import app

app()
