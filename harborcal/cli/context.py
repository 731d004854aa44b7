"""How a command gets the settings: read once per call, and only when a command asks for them."""

import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import click

from harborcal.cli.settings import Settings, load_settings

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Asked:
    """What was asked for before the command's name."""

    def __init__(self, options: Mapping[str, str | None]) -> None:
        self._options = options
        self._settings: Settings | None = None

    @property
    def options(self) -> Mapping[str, str | None]:
        """The options before the command's name; None for those that were not given."""
        return self._options

    @property
    def settings(self) -> Settings:
        """The settings that follow from options, environment and file.

        Raises:
            ConfigurationError: They make no sense.
        """
        if self._settings is None:
            self._settings = load_settings(self._options, os.environ, Path.cwd())
        return self._settings


def pass_settings(function: Callable[Concatenate[Settings, Arguments], Result]) -> Callable[Arguments, Result]:
    """Give a command's function the settings as its first argument."""

    @functools.wraps(function)
    def with_settings(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        return function(settings_of(click.get_current_context()), *args, **kwargs)

    return with_settings


def settings_of(context: click.Context) -> Settings:
    """Tell the settings of a call.

    Raises:
        ConfigurationError: They make no sense.
    """
    return asked(context).settings


def asked(context: click.Context | None = None) -> Asked:
    """Tell what was asked for before the command's name, in this call or the current one."""
    here = context if context is not None else click.get_current_context()
    found = here.find_object(Asked)
    if found is None:  # while a shell completes, no command runs, and the options before it are only parsed
        root = here.find_root()
        texts = {name: value for name, value in root.params.items() if value is None or isinstance(value, str)}
        found = root.obj = Asked(texts)
    return found
