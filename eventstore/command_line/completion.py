"""`eventstore completion`: the script that completes commands and options in a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from eventstore.command_line.command_declaration import command
from eventstore.command_line.output import Output

__all__ = ["completion"]


@command(
    "completion",
    json=False,
    examples=[
        'eval "$(eventstore completion bash)"     # in ~/.bashrc',
        'eval "$(eventstore completion zsh)"      # in ~/.zshrc',
        "eventstore completion fish > ~/.config/fish/completions/eventstore.fish",
    ],
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(out: Output, shell: str) -> None:
    """Print the script that completes commands and options in SHELL."""
    kind = get_completion_class(shell)
    assert kind is not None
    group = click.get_current_context().find_root().command
    out.write(kind(group, {}, "eventstore", "_EVENTSTORE_COMPLETE").source())
