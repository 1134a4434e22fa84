"""How a command is declared: its options, its help with examples, and its `Output`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from eventstore.command_line.output import Output

__all__ = ["command", "path_argument", "registry_option"]

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def command(
    name: str, *, examples: Sequence[str] = (), json: bool = True
) -> Callable[[Callable[..., None]], click.Command]:
    """Make a command of a function, whose first argument becomes the `Output`.

    `examples` are command lines for the end of the help. The options `--json` and `--color` are
    added. `json=False` leaves out `--json`.
    """

    def declared(function: Callable[..., None]) -> click.Command:
        @functools.wraps(function)
        def called(*, color: str, as_json: bool = False, **given: Any) -> None:
            function(Output(name, as_json=as_json, color=color), **given)

        options = [
            click.option(
                "--color",
                type=click.Choice(["auto", "always", "never"]),
                default="auto",
                help="Colours: on a terminal, always or never. NO_COLOR is heeded.",
            )
        ]
        if json:
            shown = f"JSON, schema eventstore.{name}/1, in place of text."
            options.append(click.option("--json", "as_json", is_flag=True, help=shown))
        for option in options:
            called = option(called)
        epilog = "\n".join(["\b", "Examples:", *(f"  {line}" for line in examples)])
        return click.command(name, epilog=epilog if examples else None)(called)

    return declared


def path_argument(function: FunctionT) -> FunctionT:
    """Add the argument `PATH`: the store's directory."""
    return click.argument("path", type=click.Path(readable=False, path_type=Path))(function)


def registry_option(function: FunctionT) -> FunctionT:
    """Add `--registry`, to be loaded by `registries.load_registry`."""
    return click.option(
        "--registry",
        "registry_name",
        metavar="MODULE:NAME",
        help="The handlers: a HandlerRegistry, or a function that makes one.  "
        "[default: the installed plugins]",
    )(function)
