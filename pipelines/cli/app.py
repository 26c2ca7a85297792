"""The command-line application: all commands, in the order of `stepmark --help`."""

import typer

from pipelines.cli.commands.check import check
from pipelines.cli.commands.contract import check_plugin
from pipelines.cli.commands.deploy import deploy
from pipelines.cli.commands.export import export
from pipelines.cli.commands.import_ import import_
from pipelines.cli.commands.label import label
from pipelines.cli.commands.list import list_plugins
from pipelines.cli.commands.new import new
from pipelines.cli.commands.plan import plan
from pipelines.cli.commands.report import report
from pipelines.cli.commands.run import run
from pipelines.cli.commands.schedule import schedule
from pipelines.cli.commands.schema import schema
from pipelines.cli.commands.score import score
from pipelines.cli.commands.show import show
from pipelines.cli.commands.sql import sql
from pipelines.cli.commands.verify import verify
from pipelines.cli.commands.view import view

__all__ = ["app"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    # `pipelines.__main__` prints the errors.
    pretty_exceptions_enable=False,
    help="Label the steps of model-written solutions, and query, score and export the labels.",
)

app.command("new")(new)
app.command("check")(check)
app.command("plan")(plan)
app.command("run")(run)
app.command("label")(label)
app.command("import")(import_)
app.command("show")(show)
app.command("sql")(sql)
app.command("view")(view)
app.command("report")(report)
app.command("score")(score)
app.command("export")(export)
app.command("verify")(verify)
app.command("schedule")(schedule)
app.command("deploy")(deploy)
app.command("list")(list_plugins)
app.command("schema")(schema)
app.command("test-plugin")(check_plugin)
