"""Agents behind a webhook: a real server on loopback."""

import contextlib
import datetime as dt
import http.server
import json
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from harborcal import (
    Agent,
    CommandHost,
    ConfigurationError,
    HostError,
    Report,
    Scheduler,
    Slot,
    WakeRequest,
    WebhookHost,
)
from harborcal.hosts import HostContext, HostsByAgent, host_named, verify_signature
from harborcal.testing import CallerRunner, FakeClock, InMemoryCalendar, RecordingHost

SECRET = "a secret of some length"
NINE = dt.datetime(2026, 3, 2, 9, 0, tzinfo=dt.UTC)


class Hook(http.server.HTTPServer):
    """Takes wakes, and answers what the test says."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.taken: list[tuple[dict[str, str], bytes]] = []
        self.status = 204
        self.headers: dict[str, str] = {}
        self.answer = b""
        self.is_framed = True
        self.hang = threading.Event()
        self.is_hanging = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/wakes?team=a"


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        hook = cast(Hook, self.server)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        hook.taken.append(({**self.headers, "path": self.path}, body))
        if hook.is_hanging:
            hook.hang.wait(10)
        self.send_response(hook.status)
        for name, value in hook.headers.items():
            self.send_header(name, value)
        if hook.is_framed:
            self.send_header("Content-Length", str(len(hook.answer)))
        self.end_headers()
        self.wfile.write(hook.answer)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def hook() -> Iterator[Hook]:
    with contextlib.closing(Serving()) as serving:
        yield serving.hook


class Serving:
    def __init__(self) -> None:
        self.hook = Hook()
        self._thread = threading.Thread(target=self.hook.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self.hook.hang.set()
        self.hook.shutdown()
        self._thread.join()
        self.hook.server_close()


def wake_of(**changes: Any) -> WakeRequest:
    given: dict[str, Any] = {
        "agent_id": "ada",
        "message": "[calendar slot 7] scheduled work — please proceed",
        "source": "calendar:7",
        "slot": Slot(id=7, event_data={"code": "T-1"}),
        "attempt": 1,
        "wake_id": "w-1",
        "woken_at": NINE,
        "report": cast(Report, None),
    }
    return WakeRequest(**given | changes)


def test_a_wake_is_posted_whole_signed_and_with_its_key(hook: Hook) -> None:
    clock = FakeClock()
    with contextlib.closing(
        WebhookHost(hook.url, secret=SECRET, credentials=lambda agent_id: {"token": f"of {agent_id}"}, clock=clock)
    ) as host:
        host.wake_agent(wake_of())
        host.wake_agent(wake_of(reminder=True))
    (headers, body), (again, _) = hook.taken
    told = json.loads(body)
    assert told["version"] == 1
    assert (told["agent_id"], told["wake_id"], told["attempt"], told["reminder"]) == ("ada", "w-1", 1, False)
    assert told["message"] == wake_of().message
    assert told["slot"]["event_data"] == {"code": "T-1"}
    assert told["report"] == {"token": "of ada"}
    assert headers["path"] == "/wakes?team=a"
    assert (headers["Idempotency-Key"], again["Idempotency-Key"]) == ("w-1", "w-1-reminder")
    signature = headers["X-Harborcal-Signature"]
    assert verify_signature(SECRET, body, signature, now=clock.now())


@pytest.mark.parametrize("status", [200, 201, 202])
@pytest.mark.parametrize(
    ("headers", "answer", "is_framed"),
    [
        ({"Content-Type": "text/html; charset=utf-8"}, b"ok", True),
        ({"Content-Encoding": "gzip"}, b"ok", True),
        ({}, b"ok", False),
        ({}, b"x" * 100_000, True),
    ],
)
def test_a_wake_that_was_taken_is_one_however_that_was_said(
    hook: Hook, status: int, headers: dict[str, str], answer: bytes, is_framed: bool
) -> None:
    hook.status, hook.headers, hook.answer, hook.is_framed = status, headers, answer, is_framed
    with contextlib.closing(WebhookHost(hook.url)) as host:
        host.wake_agent(wake_of())
        host.wake_agent(wake_of())
    assert len(hook.taken) == 2


def test_a_signature_is_of_this_body_this_secret_and_this_time(hook: Hook) -> None:
    clock = FakeClock()
    with contextlib.closing(WebhookHost(hook.url, secret=SECRET, clock=clock)) as host:
        host.wake_agent(wake_of())
    ((headers, body),) = hook.taken
    signature, now = headers["X-Harborcal-Signature"], clock.now()
    late = dt.timedelta(seconds=301)
    assert verify_signature(SECRET, body, signature, now=now + late, tolerance=302)
    for secret, sent, told, at in (
        ("another secret of some length", body, signature, now),
        (SECRET, body + b" ", signature, now),
        (SECRET, body, signature, now + late),
        (SECRET, body, signature, now - late),
        (SECRET, body, None, now),
        (SECRET, body, "t=,v1=", now),
        (SECRET, body, signature.replace("v1=", "v1=é"), now),
        (SECRET, body, signature[:-1], now),
    ):
        assert not verify_signature(secret, sent, told, now=at)


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_a_webhook_that_takes_the_wake_has_woken_its_agent(hook: Hook, status: int) -> None:
    hook.status = status
    with contextlib.closing(WebhookHost(hook.url)) as host:
        host.wake_agent(wake_of())


@pytest.mark.parametrize("status", [302, 400, 404, 429, 500])
def test_anything_else_is_a_failed_wake(hook: Hook, status: int) -> None:
    hook.status = status
    hook.headers = {"Location": "http://127.0.0.1:9/elsewhere"}
    with contextlib.closing(WebhookHost(hook.url)) as host, pytest.raises(HostError):
        host.wake_agent(wake_of())
    assert len(hook.taken) == 1, "a redirect is not followed, and nothing is tried again by itself"


def test_a_webhook_that_hangs_holds_its_wake_up_no_longer_than_the_timeout(hook: Hook) -> None:
    hook.is_hanging = True
    with (
        contextlib.closing(WebhookHost(hook.url, timeout=0.2)) as host,
        pytest.raises(HostError, match=r"within 0\.2 s"),
    ):
        host.wake_agent(wake_of())


def test_secrets_are_in_no_repr_and_go_nowhere_unprotected() -> None:
    assert SECRET not in repr(WebhookHost("https://hooks.example/x?key=1", secret=SECRET))
    assert "key=1" not in repr(WebhookHost("https://hooks.example/x?key=1", secret=SECRET))
    with pytest.raises(ConfigurationError, match="https"):
        WebhookHost("http://hooks.example/x", secret=SECRET)
    with pytest.raises(ConfigurationError, match="https"):
        WebhookHost("http://hooks.example/x", credentials=lambda _: {})
    with pytest.raises(ConfigurationError, match="16 characters"):
        WebhookHost("https://hooks.example", secret="short")


# --- by agent, by name ----------------------------------------------------------------------------------------------


def test_each_agents_wakes_go_to_its_own_host() -> None:
    hosts = {"ada": RecordingHost(), "ben": RecordingHost()}
    clock = FakeClock()
    calendar = InMemoryCalendar(clock, agents=["ada", "ben", "cat"])
    for agent_id in ("ada", "ben", "cat"):
        calendar.add_slot(agent_id)
    agents = [Agent(id=agent_id) for agent_id in ("ada", "ben", "cat")]
    scheduler = Scheduler(calendar, HostsByAgent(hosts), lambda: agents, clock=clock, runner=CallerRunner())
    report = scheduler.tick()
    assert report.woken == ("ada", "ben")
    assert report.failed_wakes == ("cat",)
    assert [wake.agent_id for host in hosts.values() for wake in host.wakes] == ["ada", "ben"]
    scheduler.stop()


class Slow(RecordingHost):
    """Takes all the time that it is given to close, or raises."""

    def __init__(self, clock: FakeClock, error: Exception | None = None) -> None:
        super().__init__()
        self._clock = clock
        self._error = error
        self.given: list[float] = []

    def close(self, timeout: float) -> None:
        self.given.append(timeout)
        if self._error is not None:
            raise self._error
        self._clock.advance(timeout)


def test_all_hosts_together_are_closed_within_the_time_and_in_spite_of_each_other() -> None:
    clock = FakeClock()
    broken, slow, last = Slow(clock, OSError("gone")), Slow(clock), Slow(clock)
    lines: list[tuple[str, str]] = []
    hosts = HostsByAgent(
        {"ada": broken, "ben": slow, "cat": last, "dan": last},
        log=lambda level, message, _fields: lines.append((level, message)),
        clock=clock,
    )
    assert hosts.closing_time == 0.0
    hosts.close(4.0)
    assert (broken.given, slow.given, last.given) == ([4.0], [4.0], [0.0])
    assert lines == [("warn", "a host could not be closed")]


def context(folder: Path) -> HostContext:
    return HostContext(agent_id="ada", folder=folder)


def test_hosts_are_made_by_name(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(SECRET + "\n")
    made = [
        host_named("command", {"command": ["sh", "-c", "true"]}, context(tmp_path)),
        host_named("webhook", {"url": "https://hooks.example", "secret_file": "key"}, context(tmp_path)),
        host_named("callback", {"function": "builtins:print"}, context(tmp_path)),
    ]
    assert [type(host).__name__ for host in made] == ["CommandHost", "WebhookHost", "CallbackHost"]


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("telephone", {}, "agent ada: there is no host 'telephone'; there are callback, command, webhook"),
        ("command", {}, "command is missing"),
        ("command", {"command": ["sh"], "shell": True}, "unknown: shell"),
        ("command", {"command": ["sh"], "output": "x"}, "unknown: output"),
        ("command", {"command": ["sh"], "time_limit": "long"}, "time_limit"),
        ("command", {"command": "ls -l"}, "list of texts"),
        ("command", {"command": ["sh", "a\0b"]}, "list of texts"),
        ("command", {"command": ["sh"], "message": ["stdin"]}, "message is"),
        ("command", {"command": ["sh"], "directory": 5}, "directory is"),
        ("command", {"command": ["sh"], "environment": ["A"]}, "environment holds"),
        ("command", {"command": ["sh"], "inherit": 5}, "inherit is"),
        ("command", {"command": ["sh"], "inherit": [5]}, "inherit is"),
        ("command", {"command": ["sh"], "reports_by_exit": "no"}, "reports_by_exit is true or false"),
        ("webhook", {"url": "ftp://x"}, "agent ada: host webhook: url is http or https"),
        ("webhook", {"url": 5}, "url begins with"),
        ("webhook", {"url": "https://x", "secret": 12345678901234567}, "secret is a text"),
        ("webhook", {"url": "https://x", "headers": ["x"]}, "headers holds"),
        (
            "webhook",
            {"url": "https://x", "secret_file": "missing"},
            "secret_file .*missing cannot be read: No such file",
        ),
        ("webhook", {"url": "https://x", "secret_file": 5}, "secret_file is a path"),
        ("webhook", {"url": "https://x", "secret_file": "a", "secret": SECRET}, "give one of them"),
        ("webhook", {"url": "https://x", "ca_file": 5}, "ca_file is a path"),
        ("callback", {"function": "nowhere:wake"}, "nowhere"),
        ("callback", {}, "module:name"),
    ],
)
def test_settings_that_make_no_sense_are_refused_with_their_agent(
    tmp_path: Path, name: str, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        host_named(name, settings, context(tmp_path))


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    for name in (5, ["command"], None):
        with pytest.raises(ConfigurationError, match="agent ada: host is the name of one"):
            host_named(cast(str, name), {}, context(tmp_path))


def test_a_relative_path_counts_from_the_settings_and_a_home_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    elsewhere = tmp_path / "elsewhere"
    for folder in (elsewhere, tmp_path / "work"):
        folder.mkdir()
    for base, directory in ((tmp_path, "work"), (elsewhere, "~/work")):
        host = host_named("command", {"command": ["sh"], "directory": directory}, context(base))
        assert isinstance(host, CommandHost)
    with pytest.raises(ConfigurationError, match="is not there"):
        host_named("command", {"command": ["sh"], "directory": "work"}, context(elsewhere))


def test_other_packages_bring_hosts_by_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "pigeons-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: pigeons\nVersion: 1\n")
    (package / "entry_points.txt").write_text("[harborcal.hosts]\npigeon = pigeons:make\nbroken = nothing:at_all\n")
    (tmp_path / "pigeons.py").write_text(
        "class Pigeon:\n    def __init__(self, color): self.color = color\n    def wake_agent(self, wake): ...\n"
        "def make(settings, context): return Pigeon(settings['color'] + ' for ' + context.agent_id)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    host: Any = host_named("pigeon", {"color": "grey"}, context(tmp_path))
    assert host.color == "grey for ada"
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        host_named("broken", {}, context(tmp_path))
    with pytest.raises(ConfigurationError, match="cannot be made: 'color'"):
        host_named("pigeon", {}, context(tmp_path))


@pytest.mark.parametrize("before", [0, 460])
def test_a_receiver_that_repeats_what_it_was_sent_brings_no_token_into_errors(hook: Hook, before: int) -> None:
    token, key, query = "hca.YWRh.an-hmac-that-is-secret", "sk-of-the-receiver", "in%2Fthe%2Bquery"
    url = f"{hook.url}&k={query}"
    host = WebhookHost(
        url, credentials=lambda _: {"HARBORCAL_TOKEN": token}, headers={"Authorization": f"Bearer {key}"}
    )
    hook.status = 422
    hook.answer = json.dumps({"detail": f"{query} in/the+query {'x' * before} {key} {token} is it"}).encode()
    with contextlib.closing(host), pytest.raises(HostError, match=r"\*\*\*") as raised:
        host.wake_agent(wake_of())
    told = "".join(traceback.format_exception(raised.value))
    assert "it answered 422: " in told
    for secret in (key, query, "in/the+query", token[:12]):
        assert secret not in told


def test_a_webhook_that_is_not_there_or_goes_elsewhere_tells_no_key_of_its_url(hook: Hook) -> None:
    with contextlib.closing(
        WebhookHost(f"{hook.url}&k=a-key-in-the-query".replace("/wakes", "/a-key-in-the-path"))
    ) as host:
        assert "key" not in repr(host)
        hook.status, hook.headers = (
            301,
            {"Location": "https://elsewhere.example/a-key-in-the-path?k=a-key-in-the-query"},
        )
        with pytest.raises(HostError, match=r"it answered 301: https://elsewhere\.example") as moved:
            host.wake_agent(wake_of())
    nowhere = contextlib.closing(WebhookHost("http://127.0.0.1:1/wakes?k=a-key-in-the-query"))
    with nowhere as host, pytest.raises(HostError, match="no answer from") as refused:
        host.wake_agent(wake_of())
    for error in (moved.value, refused.value):
        told = "".join(traceback.format_exception(error))
        assert "a-key-in-the-query" not in told
        assert "a-key-in-the-path" not in told
