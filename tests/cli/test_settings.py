"""Settings: which value counts, where it came from, and what is refused."""

import copy
import dataclasses
import pickle
from pathlib import Path
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest

from harborcal import ConfigurationError, SchedulerConfig
from harborcal.cli.calendars import open_calendar
from harborcal.cli.settings import Secret, Settings, load_settings
from tests.cli.conftest import Harbor

CANARY = "kanarienvogel"


def load(folder: Path, toml: str = "", options: dict[str, str | None] | None = None, **environ: str) -> Settings:
    if toml:
        (folder / "harborcal.toml").write_text(toml, encoding="utf-8")
    return load_settings(options or {}, environ, folder)


def origin(settings: Settings, name: str) -> str:
    return next(value.origin for value in settings.values() if value.name == name)


def shown(settings: Settings, name: str) -> str:
    return next(value.shown for value in settings.values() if value.name == name)


def test_without_anything_the_defaults_count(folder: Path) -> None:
    settings = load(folder, TZ="America/New_York")
    assert settings.file is None
    assert settings.folder == folder
    assert settings.calendar_url == f"sqlite:///{folder}/calendar.db"
    assert settings.backend is None
    assert settings.state == folder / ".harborcal"
    assert settings.control == f"unix:{folder}/.harborcal/control.sock"
    assert settings.scheduler == SchedulerConfig()
    assert settings.agents == {}
    assert (settings.serve_host, settings.serve_port, settings.serve_key) == ("127.0.0.1", 8000, None)
    assert settings.zone == ZoneInfo("America/New_York")
    assert settings.is_bare
    paths = (settings.journal, settings.secret, settings.lock, settings.runs)
    assert [path.relative_to(settings.state).name for path in paths] == ["journal", "secret", "lock", "runs"]


def test_options_go_before_the_environment_before_the_file_before_defaults(folder: Path) -> None:
    toml = 'zone = "Europe/Berlin"'
    assert load(folder).zone.key != "Europe/Berlin"
    by_file = load(folder, toml)
    assert (by_file.zone.key, origin(by_file, "zone")) == ("Europe/Berlin", "harborcal.toml: zone")
    by_variable = load(folder, toml, HARBORCAL_ZONE="Asia/Tokyo")
    assert (by_variable.zone.key, origin(by_variable, "zone")) == ("Asia/Tokyo", "environment HARBORCAL_ZONE")
    by_option = load(folder, toml, {"zone": "UTC"}, HARBORCAL_ZONE="Asia/Tokyo")
    assert (by_option.zone.key, origin(by_option, "zone")) == ("UTC", "option --zone")


@pytest.mark.parametrize("name", ["what?", "50%25", "#1", "a b ü", "x%3Fy"])
def test_a_folder_may_be_called_what_it_likes(folder: Path, name: str) -> None:
    place = folder / name
    place.mkdir()
    settings = load(place, '[agents.ada]\nhost = "command"\ncommand = ["true"]')
    assert settings.calendar_file == place / "calendar.db"
    for url in (None, "mine.db", f"sqlite:///{quote('mine.db')}", f"sqlite:///{quote(str(place))}/mine.db"):
        again = load(place, options={} if url is None else {"calendar": url})
        expected = place / ("calendar.db" if url is None else "mine.db")
        assert again.calendar_file == expected
        open_calendar(again).close()
        assert expected.is_file()
    assert sorted(path.name for path in folder.iterdir()) == [name]


def test_a_password_with_an_at_sign_is_hidden_whole(folder: Path) -> None:
    settings = load(folder, options={"backend": "http://user:ge@heim@127.0.0.1:1"})
    assert shown(settings, "calendar.backend") == "http://(set)@127.0.0.1:1"


def test_an_empty_variable_is_not_set(folder: Path) -> None:
    assert load(folder, HARBORCAL_SCHEDULER_NONE="").scheduler == SchedulerConfig()
    assert load(folder, 'zone = "Europe/Berlin"', HARBORCAL_ZONE="").zone.key == "Europe/Berlin"


def test_relative_paths_begin_at_who_wrote_them(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "harbor.toml").write_text(
        'state = "here"\n[calendar]\nurl = "sqlite:///mine.db"', encoding="utf-8"
    )
    settings = load(folder, options={"config": "sub/harbor.toml", "control": "unix:sock"})
    assert settings.state == folder / "sub" / "here"
    assert settings.calendar_url == f"sqlite:///{folder}/sub/mine.db"
    assert settings.control == f"unix:{folder}/sock"
    assert settings.folder == folder / "sub"
    assert load(folder, HARBORCAL_CONFIG="sub/harbor.toml").folder == folder / "sub"


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ('zonne = "UTC"', r"harborcal\.toml: there is no zonne; did you mean zone\?"),
        ('[calender]\nurl = "x"', r"there is no calender; did you mean calendar\?"),
        ('[calendar]\nuri = "x"', r"there is no calendar\.uri; did you mean url\?"),
        (
            "[scheduler]\nheartbeat_intervall = 3",
            r"no scheduler\.heartbeat_intervall; did you mean heartbeat_interval\?",
        ),
        ('[calendar]\napi_key = "x"', r"there is no calendar\.api_key; did you mean api_key_file\?"),
        ("[control]\nqqq = 1", r"there is no control\.qqq; there is listen"),
        ("zone = ", r"is no TOML: Invalid value \(at"),
        ("zone = 7", r"harborcal\.toml: zone: there is no time zone '7'"),
        ('zone = "Europe/Berln"', r"there is no time zone 'Europe/Berln'; did you mean Europe/Berlin\?"),
        ("state = 3", r"harborcal\.toml: state is a text, not 3"),
        ("calendar = 3", r"calendar is a table \(\[calendar\]\), not 3"),
        ('[calendar]\nurl = "postgres://x"', r"calendar\.url is sqlite:///relative/path"),
        ('[calendar]\nurl = "sqlite:///x.db?mode=ro"', r"calendar\.url is sqlite:///relative/path"),
        ('[calendar]\nurl = "sqlite://"', "a calendar in memory would end with the command"),
        ('[calendar]\nurl = "https://harborforge.example"', r"is a backend \(--backend, calendar\.backend\)"),
        ('[calendar]\nbackend = "harborforge"', "a backend is an http or https URL"),
        ('[calendar]\nurl = "a.db"\nbackend = "https://a"', "contradict: a calendar is one or the other"),
        ('[calendar]\nclaw_identifier = "a b"', r"calendar\.claw_identifier: a claw identifier is a letter or digit"),
        ('[control]\nlisten = "http://0.0.0.0:80"', r"control\.listen is unix:PATH or http://127\.0\.0\.1:PORT"),
        ('[control]\nlisten = "http://127.0.0.1:99999"', r"harborcal\.toml: control\.listen: .*is no control address"),
        ('[control]\nlisten = "unix:a\\u0000b"', r"harborcal\.toml: control\.listen: a control address names a socket"),
        ("[serve]\nport = 70000", r"serve\.port is a port in 0\.\.65535"),
        ('[serve]\nport = "8000"', r"serve\.port is a whole number, not '8000'"),
        ('[scheduler]\nlease = "soon"', r"scheduler\.lease: 'soon' is no duration"),
        ("[scheduler]\nlease = 1e9", r"scheduler\.lease: lease is finite and at most"),
        ("[scheduler]\nspread = 1", r"scheduler\.spread is true or false, not 1"),
        ('[scheduler]\non_unknown = "hope"', r"scheduler\.on_unknown: on_unknown is one of skip, repeat"),
        ('[agents."a b"]', r"harborcal\.toml: an agent's id is a letter or digit"),
        ("[agents]\nreviewer = 3", r"agents\.reviewer is a table \(\[agents\.reviewer\]\)"),
        ("[agents.reviewer]\nhost = 3", r"agents\.reviewer\.host is a text, not 3"),
    ],
)
def test_a_wrong_file_is_refused_by_its_key(folder: Path, toml: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        load(folder, toml)


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("HARBORCAL_ZONE", "Mars", "environment HARBORCAL_ZONE: there is no time zone 'Mars'"),
        (
            "HARBORCAL_CONFIG",
            "absent.toml",
            r"HARBORCAL_CONFIG: .*absent\.toml: no such file; `harborcal init` writes one",
        ),
        ("HARBORCAL_CONFIG", ".", "a folder"),
        ("HARBORCAL_SCHEDULER_LEESE", "3", r"HARBORCAL_SCHEDULER_LEESE: .*did you mean HARBORCAL_SCHEDULER_LEASE\?"),
        ("HARBORCAL_SCHEDULER_MAX_WAKES", "many", "environment HARBORCAL_SCHEDULER_MAX_WAKES is a whole number"),
        ("HARBORCAL_SERVE_PORT", "x", "environment HARBORCAL_SERVE_PORT is a whole number, not 'x'"),
        ("HARBORCAL_STATE", "a\0b", "HARBORCAL_STATE is a path"),
    ],
)
def test_a_wrong_variable_is_refused_by_its_name(folder: Path, variable: str, value: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        load(folder, "", None, **{variable: value})


def test_a_file_that_cannot_be_read_is_refused(folder: Path) -> None:
    (folder / "latin.toml").write_bytes(b'zone = "\xe4"')
    with pytest.raises(ConfigurationError, match="is not in UTF-8"):
        load(folder, options={"config": "latin.toml"})
    (folder / "huge.toml").write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(ConfigurationError, match="is no configuration"):
        load(folder, options={"config": "huge.toml"})


def test_a_backend_said_with_more_weight_goes_before_a_carried_calendar(folder: Path) -> None:
    toml = '[calendar]\nurl = "mine.db"'
    settings = load(folder, toml, HARBORCAL_CALENDAR_BACKEND="https://harborforge.example")
    assert (settings.calendar_url, settings.backend) == (None, "https://harborforge.example")
    settings = load(folder, toml, {"calendar": "other.db"}, HARBORCAL_CALENDAR_BACKEND="https://harborforge.example")
    assert (settings.calendar_url, settings.backend) == (f"sqlite:///{folder}/other.db", None)


def test_every_setting_of_the_scheduler_comes_from_the_file_or_a_variable(folder: Path) -> None:
    toml = '[scheduler]\nheartbeat_interval = "1m"\nlease = "never"\nspread = false\nseed = 7\nmisfire_grace = 60'
    settings = load(
        folder,
        toml,
        HARBORCAL_SCHEDULER_MAX_WAKES="3",
        HARBORCAL_SCHEDULER_MISFIRE_GRACE="2m",
        HARBORCAL_SCHEDULER_SPREAD="yes",
    )
    assert settings.scheduler == SchedulerConfig(
        heartbeat_interval=60.0, lease=None, seed=7, misfire_grace=120.0, max_wakes=3, spread=True
    )
    assert shown(settings, "scheduler.lease") == "never"
    assert origin(settings, "scheduler.lease") == "harborcal.toml: scheduler.lease"
    assert origin(settings, "scheduler.max_wakes") == "environment HARBORCAL_SCHEDULER_MAX_WAKES"
    names = {value.name for value in settings.values()}
    assert {f"scheduler.{field.name}" for field in dataclasses.fields(SchedulerConfig)} <= names


def test_agents_have_what_all_have_unless_they_say_otherwise(folder: Path) -> None:
    toml = """
        [defaults]
        host = "command"
        model = "small"
        environment = {LANG = "C", WHO = "all"}
        [agents.reviewer]
        command = ["review", "--fast"]
        environment = {WHO = "me"}
        [agents.writer]
        host = "webhook"
        model = "large"
    """
    agents = load(folder, toml).agents
    assert (agents["reviewer"].host, agents["reviewer"].model) == ("command", "small")
    assert agents["reviewer"].settings == {
        "command": ["review", "--fast"],
        "environment": {"LANG": "C", "WHO": "me"},
    }
    assert (agents["writer"].host, agents["writer"].model) == ("webhook", "large")


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_a_secret_shows_itself_nowhere() -> None:
    secret = Secret(CANARY)
    for told in (repr(secret), str(secret), f"{secret}", f"{secret!r:>20}", repr([secret])):
        assert CANARY not in told
    for write in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError, match="not written down"):
            write(secret)
    assert secret.reveal() == CANARY
    assert secret == Secret(CANARY)
    assert secret != Secret("other")
    assert secret != CANARY


def test_secrets_come_from_the_environment_or_a_file_and_are_never_shown(folder: Path) -> None:
    (folder / "key").write_text(f"{CANARY}\nmore\n", encoding="utf-8")
    toml = """
        [calendar]
        backend = "https://user:kanarienvogel@harborforge.example"
        api_key_file = "key"
        [agents.reviewer]
        host = "webhook"
        secret = "kanarienvogel"
        api_token = "kanarienvogel"
        url = "https://me:kanarienvogel@example.org"
        [agents.reviewer.environment]
        ANY = "kanarienvogel"
        [agents.reviewer.nested]
        password = "kanarienvogel"
    """
    settings = load(folder, toml)
    assert settings.api_key is not None
    assert settings.api_key.reveal() == CANARY
    assert CANARY not in repr(settings.values())
    assert CANARY not in repr(settings.agents)
    assert CANARY not in repr(settings.api_key)
    assert shown(settings, "calendar.api_key") == "(set)"
    assert origin(settings, "calendar.api_key") == f"harborcal.toml: calendar.api_key_file = {folder}/key"
    by_variable = load(folder, toml, HARBORCAL_API_KEY="another")
    assert by_variable.api_key == Secret("another")
    assert origin(by_variable, "calendar.api_key") == "environment HARBORCAL_API_KEY"


def test_a_secret_in_a_file_is_read_when_it_is_needed(folder: Path) -> None:
    secret = load(folder, HARBORCAL_SERVE_KEY_FILE="key").serve_key
    assert secret is not None
    with pytest.raises(ConfigurationError, match=r"HARBORCAL_SERVE_KEY_FILE: .*key cannot be read: No such file"):
        secret.reveal()
    (folder / "key").write_bytes(b"\n")
    with pytest.raises(ConfigurationError, match="holds no secret in its first line"):
        secret.reveal()
    (folder / "key").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="is no text"):
        secret.reveal()


def test_config_show_tells_each_value_and_where_it_came_from(harbor: Harbor) -> None:
    told = harbor.says("--state", "there", "config", "show", HARBORCAL_API_KEY=CANARY)
    assert CANARY not in told
    lines = {line.split()[0]: line for line in told.splitlines()}
    assert lines["state"].split()[1:] == [f"{harbor.folder}/there", "option", "--state"]
    assert lines["zone"].split()[1:] == ["Europe/Berlin", "harborcal.toml:", "zone"]
    assert lines["calendar.api_key"].split()[1:] == ["(set)", "environment", "HARBORCAL_API_KEY"]
    assert lines["serve.port"].split()[1:] == ["8000", "default"]
    assert lines["agents.reviewer.command"].split()[1:] == ["cat", "harborcal.toml:", "agents.reviewer.command"]
    values = {one["name"]: one for one in harbor.reads("config", "show")}
    assert values["zone"] == {"name": "zone", "value": "Europe/Berlin", "origin": "harborcal.toml: zone"}


def test_a_wrong_configuration_ends_every_command_with_its_own_exit_code(harbor: Harbor) -> None:
    harbor.configure("zone = ")
    for words in (("today",), ("config", "show"), ("agents",), ("plans",), ("simulate",)):
        assert "harborcal.toml is no TOML" in harbor.fails(3, *words)
    assert "Usage" in harbor.says("today", "--help"), "help needs no configuration"
