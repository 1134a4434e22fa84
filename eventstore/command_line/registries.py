"""The handlers of a command that needs a state: the installed plugins, or `--registry`."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from eventstore.command_line.output import Output
from eventstore.errors import EventStoreError, RegistrationError
from eventstore.model.handler import Handler, Upcaster
from eventstore.model.registry import HandlerRegistry
from eventstore.recovery_and_stats import printable

__all__ = ["REGISTRY_HINT", "load_registry", "registry_or_none"]

REGISTRY_HINT = "give the handlers with --registry module:name"


def load_registry(name: str | None) -> HandlerRegistry[Any]:
    """Return the registry `module:name`, or that of the installed plugins for `None`.

    `name` is a `HandlerRegistry`, or a function without arguments that makes one. The module may be
    in the current directory. Raises `click.BadParameter`, and `RegistrationError` for plugins that
    make no registry together.
    """
    if name is None:
        try:
            return HandlerRegistry.discover()
        except RegistrationError as error:
            raise RegistrationError(f"{error}. Or {REGISTRY_HINT}") from error
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise _refused(f"{name!r} is not module:name, such as bot:registry")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
        if isinstance(found, Handler | Upcaster):
            raise _refused(
                f"{name} is {found!r}: name a HandlerRegistry with the handler and all others of "
                "the state, or a function that makes one"
            )
        if not isinstance(found, HandlerRegistry) and callable(found):
            found = found()
    except (EventStoreError, click.BadParameter):
        raise
    except Exception as error:  # a module of the user's may raise anything
        raise _refused(f"{name} cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(found, HandlerRegistry):
        raise _refused(f"{name} is {type(found).__name__}, and no HandlerRegistry")
    return found


def registry_or_none(name: str | None, lacking: str) -> HandlerRegistry[Any] | None:
    """Return the registry of a command that goes on without one, and says what is lacking then.

    A `--registry` that was given must load. Plugins that make no registry together are left out.
    """
    try:
        return load_registry(name)
    except RegistrationError as error:
        if name is not None:
            raise
        Output.say(f"{lacking}: {error}")
        return None


def _refused(message: str) -> click.BadParameter:
    return click.BadParameter(printable(message), param_hint="'--registry'")
