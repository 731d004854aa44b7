"""The daemon's state folder: made for its owner's eyes only."""

import contextlib
import os
import stat
from pathlib import Path

from harborcal.errors import ConfigurationError

PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600


def prepare_state(folder: Path, project: Path) -> None:
    """Make the state folder where there is none, and close it to others.

    What lies in it is no part of anybody's project: a ``.gitignore`` of its own says so.

    Args:
        folder: The state folder.
        project: The configuration's folder, which must not be hidden and closed with it.

    Raises:
        ConfigurationError: It cannot be made, is no folder, is another user's, or holds the project.
    """
    if project.resolve().is_relative_to(folder.resolve()):
        raise ConfigurationError(
            f"the state folder {folder} holds the project: name a folder of its own, as .harborcal"
        )
    try:
        folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        if is_foreign(folder):
            raise ConfigurationError(f"the state folder {folder} belongs to another user")
        if is_open_to_others(folder):
            folder.chmod(PRIVATE_FOLDER)
    except OSError as error:
        raise ConfigurationError(f"the state folder {folder} cannot be used: {error.strerror or error}") from error
    with contextlib.suppress(OSError), (folder / ".gitignore").open("x", encoding="utf-8") as file:
        file.write("*\n")


def is_foreign(path: Path) -> bool:
    """Tell whether something is another user's.

    Raises:
        OSError: It cannot be looked at.
    """
    return path.stat().st_uid != os.geteuid()


def is_open_to_others(path: Path) -> bool:
    """Tell whether others than its owner may read, write or enter something; False where nothing is there.

    Raises:
        OSError: It cannot be looked at.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return not stat.S_ISLNK(found.st_mode) and bool(stat.S_IMODE(found.st_mode) & 0o077)
