"""HTTP manners: origins, headers, deadlines, Retry-After, statuses and error bodies."""

import datetime as dt
import email.utils
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harborcal import net
from harborcal.errors import (
    CalendarRefusedError,
    CalendarUnavailableError,
    ConfigurationError,
    MalformedAnswerError,
)
from harborcal.model import PluginInfo

NOW = dt.datetime(2026, 3, 1, 12, 0, 0, tzinfo=dt.UTC)


class Ticker:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def test_a_deadline_counts_down_and_never_below_zero() -> None:
    ticker = Ticker()
    deadline = net.Deadline(5.0, ticker)
    seen = []
    for ticker.time in (103.0, 105.0, 200.0):
        seen.append((deadline.remaining(), deadline.expired))
    assert seen == [(2.0, False), (0.0, True), (0.0, True)]


# --- origins


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://calendar.example", "https://calendar.example"),
        ("https://calendar.example/", "https://calendar.example"),
        ("HTTPS://calendar.example:8443/api/v1/", "https://calendar.example:8443/api/v1"),
        ("http://calendar.example:8000", "http://calendar.example:8000"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_an_origin_is_a_scheme_a_host_and_perhaps_a_port_and_a_path(url: str, origin: str) -> None:
    assert net.check_origin(url, has_secret=False) == origin


@pytest.mark.parametrize(
    "url",
    [
        "",
        "calendar.example",
        "//calendar.example",
        "file:///etc/passwd",
        "http+unix://socket",
        "ftp://calendar.example",
        "http://",
        "http:///path",
        "http://:8000",
        "http://calendar.example:0",
        "http://calendar.example:65536",
        "http://calendar.example:port",
        "http://[::1",
        "http://127.0.0.1:80@evil.example",
        "http://user@calendar.example",
        "http://calendar.example?x=1",
        "http://calendar.example?",
        "http://calendar.example#top",
        "http://calendar.example/../admin",
        "http://calendar.example/./",
        "http://calendar.example\\@evil.example",
        "http://calendar.example/a b",
        "http://calendar.example\n",
        "http://kalénder.example",
        None,
        b"http://calendar.example",
    ],
)
def test_anything_else_is_no_origin(url: object) -> None:
    with pytest.raises(ConfigurationError, match="base_url"):
        net.check_origin(url, has_secret=False)


def test_a_refused_origin_does_not_tell_its_password() -> None:
    for url in ("https://user:hunter2@calendar.example", "https://user:hunter2@calendar.example:99999"):
        with pytest.raises(ConfigurationError) as caught:
            net.check_origin(url, has_secret=True)
        assert "hunter2" not in str(caught.value)
        assert caught.value.__context__ is None


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "[::1]", "localhost", "LocalHost"])
def test_a_secret_may_go_in_the_clear_to_this_machine(host: str) -> None:
    assert net.check_origin(f"http://{host}:8000", has_secret=True)


@pytest.mark.parametrize("host", ["calendar.example", "10.0.0.1", "2130706433", "localhost.evil.example", "[::2]"])
def test_a_secret_goes_to_no_other_machine_in_the_clear(host: str) -> None:
    with pytest.raises(ConfigurationError, match="https"):
        net.check_origin(f"http://{host}:8000", has_secret=True)
    assert net.check_origin(f"https://{host}:8000", has_secret=True)


# --- paths, headers


@pytest.mark.parametrize(
    "path", ["/a/../b", "/a/./b", "/a//b", "/a?x=1", "/a#f", "a", "@evil.example/", "/a?", "/", ""]
)
def test_a_path_that_a_parser_reads_differently_is_refused(path: str) -> None:
    with pytest.raises(ConfigurationError, match="no plain path"):
        net.check_url("http://calendar.example/api", path)


def test_a_plain_path_is_joined_to_the_origin() -> None:
    assert net.check_url("http://calendar.example/api", "/slots/a:b@c.d-e") == (
        "http://calendar.example/api/slots/a:b@c.d-e"
    )


@pytest.mark.parametrize("value", ["", " x", "x ", "a\r\nX-Evil: 1", "a\x00", "é", "x" * 4097, None, b"x", "\x7f"])
def test_a_header_value_is_printable_ascii_without_padding(value: object) -> None:
    with pytest.raises(ConfigurationError, match="api_key is printable") as caught:
        net.check_header("api_key", value)
    assert "X-Evil" not in str(caught.value)


@given(st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=50))
def test_a_sound_header_value_is_returned_as_it_is(value: str) -> None:
    assert net.check_header("api_key", value) == value
    assert net.check_header("api_key", f"{value} {value}") == f"{value} {value}"


def test_the_user_agent_names_harborcal_and_the_program_once_each() -> None:
    assert net.user_agent(PluginInfo()).startswith("harborcal")
    assert " " not in net.user_agent(PluginInfo())
    assert net.user_agent(PluginInfo(name="claw", version="2.1")).endswith(" claw/2.1")
    assert net.user_agent(PluginInfo(name="claw")).endswith(" claw")
    assert net.user_agent(PluginInfo(name="")) == net.user_agent(PluginInfo())


@given(st.text(), st.text())
def test_no_name_of_a_program_breaks_out_of_the_user_agent(name: str, version: str) -> None:
    agent = net.user_agent(PluginInfo(name=name, version=version))
    assert net.check_header("User-Agent", agent) == agent
    assert agent.count(" ") <= 1


# --- Retry-After


def date_in(seconds: float) -> str:
    return email.utils.format_datetime(NOW + dt.timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        ("5", 5.0),
        (" 5\t", 5.0),
        ("007", 7.0),
        ("1.5", 1.5),
        ("1e9", 3600.0),
        ("1e999", 3600.0),
        ("1000000000", 3600.0),
        ("9" * 5000, 3600.0),
        ("-5", None),
        ("+5", None),
        ("nan", None),
        ("inf", None),
        ("Infinity", None),
        ("0x10", None),
        ("1_000", None),
        ("٥", None),
        ("５", None),
        ("soon", None),
        ("5 5", None),
        ("5,6", None),
        (date_in(90), 90.0),
        (date_in(-90), 0.0),
        (date_in(1e7), 3600.0),
        (date_in(90).replace("GMT", "-0000"), 90.0),
        ("Sunday, 01-Mar-26 12:01:30 GMT", 90.0),
        ("Sun, ٠١ Mar 2026 12:01:30 GMT", None),
        ("Sun, 99 Mar 2026 12:00:00 GMT", None),
        ("Sun, 01 Mar 2026 25:00:00 GMT", None),
        ("x" * 60_000 + ":", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_date_within_its_bounds(value: str | None, seconds: float | None) -> None:
    assert net.parse_retry_after(value, NOW) == seconds


def test_the_cap_of_retry_after_is_the_callers() -> None:
    assert net.parse_retry_after("50", NOW, cap=20.0) == 20.0
    assert net.parse_retry_after(date_in(50), NOW, cap=20.0) == 20.0


DATE_LIKE = st.text(alphabet="0123456789:,-+. GMTSunMar\x00é", max_size=80)


@given(st.one_of(st.text(), DATE_LIKE, st.floats().map(str), st.integers().map(str)))
def test_no_text_breaks_retry_after_or_leaves_its_bounds(value: str) -> None:
    seconds = net.parse_retry_after(value, NOW)
    assert seconds is None or (math.isfinite(seconds) and 0.0 <= seconds <= 3600.0)


# --- statuses and their bodies


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_some_statuses_say_come_back_later(status: int) -> None:
    error = net.error_for_status(status, "busy", 7.0)
    assert isinstance(error, CalendarUnavailableError)
    assert (error.status, error.retry_after) == (status, 7.0)
    assert str(error) == f"calendar unavailable ({status}): busy"
    assert str(net.error_for_status(status)) == f"calendar unavailable ({status})"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 418, 422, 423, 499])
def test_every_other_4xx_is_a_refusal(status: int) -> None:
    error = net.error_for_status(status, "no such slot")
    assert isinstance(error, CalendarRefusedError)
    assert (error.status, error.detail, error.repeated) == (status, "no such slot", False)


@pytest.mark.parametrize("status", [100, 101, 103, 202, 206, 299, 600, 999])
def test_a_status_that_means_nothing_here_is_a_malformed_answer(status: int) -> None:
    error = net.error_for_status(status)
    assert isinstance(error, MalformedAnswerError)
    assert str(status) in str(error)


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_a_redirect_is_a_malformed_answer_that_names_its_target(status: int) -> None:
    error = net.error_for_status(status, "https://elsewhere.example/")
    assert isinstance(error, MalformedAnswerError)
    assert f"redirect ({status}) to https://elsewhere.example/;" in str(error)
    assert f"redirect ({status});" in str(net.error_for_status(status))


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"detail": "Agent not found"}', "Agent not found"),
        (b'{"detail": "two\\nlines\\u202e"}', "two lines"),
        (b'{"detail": [{"loc": ["body", "status", 0], "msg": "bad"}, {"msg": "worse"}]}', "body.status.0: bad; worse"),
        (b'{"detail": [{"loc": "body", "msg": 5}, 7, null, "plain", {}]}', "plain"),
        (b'{"detail": []}', ""),
        (b'{"detail": null}', ""),
        (b'{"detail": 5}', ""),
        (b'{"message": "other"}', ""),
        (b"[1]", ""),
        (b"", ""),
        (b"<html>", ""),
        (b"\xff\xfe\x00", ""),
        (b"[" * 200_000, ""),
        (b'{"detail": ' + b"9" * 5000 + b"}", ""),
    ],
)
def test_the_calendars_own_words_are_read_from_bodies_of_any_shape(body: bytes, detail: str) -> None:
    assert net.detail_of(body) == detail


def test_the_calendars_own_words_are_capped() -> None:
    many = b'{"detail": [' + b",".join([b'{"msg": "' + b"x" * 400 + b'"}'] * 1000) + b"]}"
    assert len(net.detail_of(many)) <= 500


@given(st.binary())
def test_no_body_breaks_the_reading_of_details(body: bytes) -> None:
    assert isinstance(net.detail_of(body), str)


def test_a_base_url_without_a_scheme_is_told_what_it_lacks_and_not_what_it_holds() -> None:
    with pytest.raises(ConfigurationError, match=r"^base_url begins with http:// or https://$"):
        net.check_origin("user:hunter2@localhost:8000", has_secret=False)
