"""Tokens: made of one secret, each good for its holder alone."""

import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harborcal import ConfigurationError
from harborcal.control import Caller, Tokens

TOKENS = Tokens(b"s" * 32)
ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,40}", fullmatch=True)


@given(ids)
def test_a_token_is_its_agents(agent_id: str) -> None:
    token = TOKENS.for_agent(agent_id)
    assert TOKENS.caller_of(token) == Caller(agent_id)
    assert TOKENS.caller_of(token + "x") is None
    assert Tokens(b"t" * 32).caller_of(token) is None


@given(st.text() | st.none() | st.binary() | st.sampled_from(["hco.", "hca..", "hca.YQ.", "hca.YWRh.é", "hca.!.x"]))
def test_anything_else_is_nobodys(token: object) -> None:
    assert TOKENS.caller_of(token) is None


def test_an_agent_called_like_the_operator_is_an_agent() -> None:
    assert TOKENS.caller_of(TOKENS.operator) == Caller(None)
    assert TOKENS.caller_of(TOKENS.for_agent("operator")) == Caller("operator")
    assert not Caller("ada").may_reach("ben")
    assert Caller(None).may_reach("ben")


def test_a_name_that_was_put_before_anothers_mark_is_nobodys() -> None:
    kind, name, mark = TOKENS.for_agent("ada").split(".")
    other = TOKENS.for_agent("ben").split(".")[1]
    assert TOKENS.caller_of(f"{kind}.{other}.{mark}") is None
    assert TOKENS.caller_of(f"hco.{mark}") is None
    assert TOKENS.caller_of(f"{kind}.{name}==.{mark}") is None


def test_a_secret_is_made_once_and_kept_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    both = threading.Barrier(2)
    made: list[str] = []

    def make() -> None:
        both.wait()
        made.append(Tokens.kept_in(path).operator)

    threads = [threading.Thread(target=make) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made[0] == made[1] == Tokens.kept_in(path).operator
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes().hex() not in repr(Tokens.kept_in(path))


def test_a_secret_that_others_may_read_or_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"x" * 32)
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        Tokens.kept_in(path)
    path.chmod(0o600)
    path.write_bytes(b"short")
    with pytest.raises(ConfigurationError, match="shorter"):
        Tokens.kept_in(path)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="secret"):
        Tokens.kept_in(path)
    with pytest.raises(ConfigurationError, match="cannot be made"):
        Tokens.kept_in(tmp_path / "no" / "folder")
    with pytest.raises(ConfigurationError, match="32 bytes"):
        Tokens(b"short")
