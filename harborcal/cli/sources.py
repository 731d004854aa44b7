"""Where settings come from: options, the environment, one TOML file; what is not known there is refused by name."""

import dataclasses
import difflib
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from harborcal.errors import ConfigurationError
from harborcal.grammar import clean

FILE_NAME = "harborcal.toml"
CONFIG_VARIABLE = "HARBORCAL_CONFIG"
_LARGEST = 1024 * 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """A value that somebody has set.

    Attributes:
        value: What was written; text, where it is an option or a variable.
        origin: Where, for people: ``option --zone``, ``environment HARBORCAL_ZONE``, ``harborcal.toml: zone``.
        folder: What a relative path in it begins at.
        rank: 0 for options, 1 for the environment, 2 for the file: the lowest counts.
    """

    value: Any
    origin: str
    folder: Path
    rank: int

    @property
    def is_text(self) -> bool:
        """Whether it comes from where everything is text."""
        return self.rank < 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sources:
    """All places that may set a value, in their order."""

    options: Mapping[str, str | None]
    environ: Mapping[str, str]
    cwd: Path
    file: Path | None
    tree: Mapping[str, Any]

    @classmethod
    def of(cls, options: Mapping[str, str | None], environ: Mapping[str, str], cwd: Path) -> "Sources":
        """Find and read the file, if there is one.

        Raises:
            ConfigurationError: One was named that is not there, or it is no TOML.
        """
        file = _find(options, environ, cwd)
        return cls(options=options, environ=environ, cwd=cwd, file=file, tree={} if file is None else _read(file))

    @property
    def folder(self) -> Path:
        """Where relative paths begin that come from the file or from nowhere."""
        return self.cwd if self.file is None else self.file.parent

    def find(self, key: str, *, option: str = "", variable: str = "") -> Found | None:
        """Look for a value, and tell where it was found first. A variable that is empty is not set."""
        if option and (said := self.options.get(option)) is not None:
            return Found(value=said, origin=f"option --{option}", folder=self.cwd, rank=0)
        if variable and (text := self.environ.get(variable, "")):
            return Found(value=text, origin=f"environment {variable}", folder=self.cwd, rank=1)
        node: Any = self.tree
        for part in key.split("."):
            node = node.get(part) if isinstance(node, Mapping) else None
        return None if node is None else self.in_file(key, node)

    def in_file(self, key: str, value: object) -> Found:
        """Tell that a value stands in the file under this key."""
        return Found(value=value, origin=f"{self.name}: {key}", folder=self.folder, rank=2)

    @property
    def name(self) -> str:
        """What the file is called."""
        return FILE_NAME if self.file is None else self.file.name

    def table(self, key: str, known: Iterable[str] | None = None) -> Mapping[str, Any]:
        """Read a table of the file; an absent one is empty.

        Raises:
            ConfigurationError: It is no table, or has a key that is not among those known.
        """
        node = self.tree if not key else self.tree.get(key, {})
        if not isinstance(node, Mapping):
            raise ConfigurationError(f"{self.name}: {key} is a table ([{key}]), not {clean(repr(node), 60)}")
        if known is not None:
            check_known(node, known, lambda name: f"{self.name}: there is no {f'{key}.{name}' if key else name}")
        return node


def check_known(keys: Iterable[str], known: Iterable[str], told: Callable[[str], str]) -> None:
    """Refuse the first key that is not known, and name the nearest that is.

    Raises:
        ConfigurationError: There is one.
    """
    names = list(known)
    for key in keys:
        if key not in names:
            raise ConfigurationError(f"{told(clean(key, 60))}{nearest(key, names)}")


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known name was perhaps meant, or which there are: the end of a sentence."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1) or [one for one in names if one.casefold() == name.casefold()]
    if close:
        return f"; did you mean {close[0]}?"
    if not names:
        return ""
    more = ", ..." if len(names) > 20 else ""
    return f"; there is {', '.join(names[:20])}{more}"


def _find(options: Mapping[str, str | None], environ: Mapping[str, str], cwd: Path) -> Path | None:
    named = options.get("config")
    origin = "option --config"
    if named is None:
        named, origin = environ.get(CONFIG_VARIABLE) or None, f"environment {CONFIG_VARIABLE}"
    if named is None:
        usual = cwd / FILE_NAME
        return usual if usual.is_file() else None
    path = cwd / Path(named).expanduser()
    if not path.is_file():
        words = "a folder" if path.is_dir() else "no such file"
        raise ConfigurationError(f"{origin}: {clean(str(path))}: {words}; `harborcal init` writes one")
    return path


def _read(file: Path) -> Mapping[str, Any]:
    try:
        with file.open("rb") as opened:
            data = opened.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise ConfigurationError(f"{file}: over {_LARGEST} bytes, which is no configuration")
        return tomllib.loads(data.decode("utf-8-sig"))
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file} is not in UTF-8") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{file} is no TOML: {clean(str(error), 200)}") from error
