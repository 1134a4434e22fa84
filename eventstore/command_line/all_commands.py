"""The group of all commands: the table of commands, and the end of every command.

A command's module is imported when the command is asked for. A new command is one line in
`COMMANDS`.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any

import click

from eventstore.command_line import exits
from eventstore.command_line.output import Output, error_object, json_text
from eventstore.errors import EventStoreError, StoreNotFoundError
from eventstore.recovery_and_stats import printable

__all__ = ["COMMANDS", "commands"]

COMMANDS = {
    "info": "info:info",
    "events": "events:events",
    "dump": "events:dump",
    "state": "state:state",
    "diff": "diff:diff",
    "blame": "blame:blame",
    "first": "first_and_bisect:first",
    "bisect": "first_and_bisect:bisect",
    "sample": "sample:sample",
    "stats": "stats:stats",
    "report": "report:report",
    "verify": "verify:verify",
    "repair": "repair:repair",
    "backup": "backup:backup",
    "restore": "restore:restore",
    "copy": "upkeep:copy",
    "compact": "upkeep:compact",
    "snapshot": "upkeep:snapshot",
    "migrate": "migrate:migrate",
    "export": "export:export",
    "standby": "replication:standby",
    "replication": "replication:replication",
    "demo": "demo:demo",
    "completion": "completion:completion",
}
"""Each command with module and name, in the order of the help."""


class _ClosedPipe(Exception):
    """A closed pipe. Click turns the error of a closed pipe into exit status 1."""


class CommandGroup(click.Group):
    """A group whose commands end with the exit statuses of `exits.py`, and never in a traceback.

    Every context has the typed words, without the program's name, as its object.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        found: Any = importlib.import_module(f"eventstore.command_line.{module}")
        command: click.Command = getattr(found, name)
        return command

    def make_context(self, *args: Any, **given: Any) -> click.Context:
        with _telling_closed_pipes():
            return super().make_context(*args, **given)

    def invoke(self, ctx: click.Context) -> Any:
        with _telling_closed_pipes():
            return super().invoke(ctx)

    def main(  # type: ignore[override]  # the overloads of click are about standalone_mode
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> Any:
        """Run a command, and exit with its status."""
        arguments = list(sys.argv[1:] if args is None else args)
        extra.pop("standalone_mode", None)
        as_json = "--json" in arguments
        try:
            status = self._run(arguments, prog_name, as_json, extra)
            sys.stdout.flush()
        except (BrokenPipeError, _ClosedPipe):
            status = exits.CLOSED_PIPE
        except KeyboardInterrupt:  # where click takes none
            status = exits.INTERRUPTED
        except OSError as error:
            what = printable(str(error.filename or "the output cannot be written"))
            if as_json and error.filename:
                told = {"path": str(error.filename), "errno": error.errno}
                message = f"{what}: {error.strerror}"
                out = {"schema": "eventstore.error/1", "error": "OSError", "message": message}
                click.echo(json_text({**out, **told}))
            else:
                click.echo(f"Error: {what}: {error.strerror}", err=True)
            status = exits.COULD_NOT_LOOK
        finally:
            _discard_unwritten()
        sys.exit(status)

    def _run(
        self, arguments: list[str], prog_name: str | None, as_json: bool, extra: dict[str, Any]
    ) -> int:
        try:
            ended = super().main(
                arguments, prog_name, standalone_mode=False, obj=tuple(arguments), **extra
            )
        except click.exceptions.Abort:
            click.echo("interrupted", err=True)
            return exits.INTERRUPTED
        except click.ClickException as error:
            if as_json:
                click.echo(json_text(error_object(error)))
            else:
                error.show()
            return error.exit_code
        except EventStoreError as error:
            if as_json:
                click.echo(json_text(error_object(error)))
            else:
                Output.say(f"Error: {error}")
                if isinstance(error, StoreNotFoundError) and error.what == "store":
                    _hint_about(error.path)
            return exits.exit_status(error)
        return ended if isinstance(ended, int) else exits.FINE


def _hint_about(path: str) -> None:
    from eventstore.command_line.missing_store import hint_about

    hint = hint_about(path)
    if hint is not None:
        Output.say(hint)


@contextlib.contextmanager
def _telling_closed_pipes() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise _ClosedPipe from error


def _discard_unwritten() -> None:
    """Give up output that cannot be written, for the interpreter tries once more at its end."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("asyncio-eventstore"), prog_name="eventstore")
def commands() -> None:
    """An embedded event store for a trading engine's state.

    \b
    At 3 a.m.: eventstore info PATH, which names the next command.

    \b
    Exit statuses: 0 fine, 1 findings, 2 usage, 3 locked, 4 not found,
    5 could not look, 130 interrupted, 141 closed pipe.
    """
