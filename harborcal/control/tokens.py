"""Who may speak: tokens that are made of one secret and need no list."""

import base64
import binascii
import dataclasses
import hmac
import os
import secrets
import stat
from pathlib import Path

from harborcal.errors import ConfigurationError
from harborcal.grammar import check_id, is_id

SECRET_SIZE = 32
"""Bytes of a secret that is made here; a shorter one is refused."""

_AGENT = "hca"
_OPERATOR = "hco"
_LONGEST = 512  # characters of a token; what is longer is none


@dataclasses.dataclass(frozen=True, slots=True)
class Caller:
    """Whom a token belongs to: one agent, or the operator, whose ``agent_id`` is None."""

    agent_id: str | None

    @property
    def is_operator(self) -> bool:
        """Whether everything may be seen and said."""
        return self.agent_id is None

    def may_reach(self, agent_id: str) -> bool:
        """Tell whether an agent's slots are the caller's business."""
        return self.agent_id is None or self.agent_id == agent_id


class Tokens:
    """Makes and knows the tokens of agents and of the operator.

    A token is its holder's name and an HMAC-SHA256 of it: nothing is stored but the secret, so a token is good for as
    long as the secret is, across restarts. A new secret takes all tokens back.

    Args:
        secret: At least 32 bytes that nobody can guess.

    Raises:
        ConfigurationError: The secret is too short.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) < SECRET_SIZE:
            raise ConfigurationError(f"a secret is at least {SECRET_SIZE} bytes")
        self._secret = secret

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"

    @classmethod
    def kept_in(cls, path: str | Path) -> "Tokens":
        """Use the secret in a file, which is made, readable for its owner alone, where there is none.

        Raises:
            ConfigurationError: The file cannot be read or made, others may read it, or it holds no secret.
        """
        return cls(_read_or_make(Path(path)))

    @property
    def operator(self) -> str:
        """The operator's token: whoever has it may see and say everything."""
        return f"{_OPERATOR}.{self._mark(_OPERATOR, '')}"

    def for_agent(self, agent_id: str) -> str:
        """Make one agent's token: it reaches that agent's own slots only.

        Raises:
            ConfigurationError: The id does not match the grammar of ids.
        """
        name = base64.urlsafe_b64encode(check_id("agent_id", agent_id).encode()).decode().rstrip("=")
        return f"{_AGENT}.{name}.{self._mark(_AGENT, agent_id)}"

    def caller_of(self, token: object) -> Caller | None:
        """Tell whose token it is; None where it is nobody's."""
        if not isinstance(token, str) or len(token) > _LONGEST or not token.isascii():
            return None
        if hmac.compare_digest(token, self.operator):
            return Caller(None)
        kind, _, rest = token.partition(".")
        agent_id = _decoded(rest.partition(".")[0]) if kind == _AGENT else None
        is_right = agent_id is not None and hmac.compare_digest(token, self.for_agent(agent_id))
        return Caller(agent_id) if is_right else None

    def _mark(self, kind: str, name: str) -> str:
        digest = hmac.digest(self._secret, f"harborcal/{kind}/{name}".encode(), "sha256")
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _decoded(name: str) -> str | None:
    try:
        text = base64.b64decode(name + "=" * (-len(name) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    return text if is_id(text) else None


def _read_or_make(path: Path) -> bytes:
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ConfigurationError(f"the secret {path} cannot be read: {error.strerror}") from error
    try:
        _make(path)
        return _read(path)
    except OSError as error:
        raise ConfigurationError(f"the secret {path} cannot be made: {error.strerror}") from error


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as file:
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if mode & 0o077:
            raise ConfigurationError(f"others may read the secret {path} (mode {mode:o}): chmod 600 it")
        secret = file.read(4_096)
    if len(secret) < SECRET_SIZE:
        raise ConfigurationError(
            f"the secret {path} is shorter than {SECRET_SIZE} bytes: remove it, and a new one is made"
        )
    return secret


def _make(path: Path) -> None:
    """Make the file whole or not at all: of two processes that make it at once both read the same one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(SECRET_SIZE))
            file.flush()
            os.fsync(descriptor)
        try:
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        draft.unlink()
