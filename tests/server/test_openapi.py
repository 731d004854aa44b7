import re
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harborcal.grammar import is_id
from harborcal.model import SlotKey
from harborcal.server.app import OPERATIONS
from harborcal.server.fields import InvalidError, Kind
from harborcal.server.kinds import DATE, ID, INSTANT, NUMBER, TIME_OF_DAY, WALL_TIME, WEEKDAY, items, whole
from harborcal.wire import DAY_PATH, HEARTBEAT_PATH, update_path
from tests.server.world import CALLER, World

KINDS = {
    "id": ID,
    "number": NUMBER,
    "time": TIME_OF_DAY,
    "date": DATE,
    "instant": INSTANT,
    "wall": WALL_TIME,
    "weekday": WEEKDAY,
    "range": whole(1, 50),
    "list": items(TIME_OF_DAY, 2),
}
TEXTS = st.one_of(
    st.text(max_size=12),
    st.dates().map(str),
    st.times().map(str),
    st.datetimes().map(lambda moment: moment.isoformat()),
    st.datetimes().map(lambda moment: moment.replace(microsecond=0).isoformat() + "Z"),
    st.from_regex("[0-9:T-]{5,20}"),
    st.sampled_from(["mon", "9:00", "09:00", "09:00\n", "24:00", "2026-02-29", "٣٣:٣٣", "a" * 128, "a" * 129]),
)
TIMES = st.lists(st.sampled_from(["09:00", "23:59:59"]), max_size=4)
VALUES = st.one_of(
    TEXTS, st.integers(), st.floats(allow_nan=False), st.booleans(), st.none(), st.lists(TEXTS, max_size=3), TIMES
)


@pytest.fixture
def document() -> Any:
    return World().ask("GET", "/openapi.json").body


def takes(kind: Kind, value: object) -> bool:
    try:
        kind.read(value)
    except InvalidError:
        return False
    return True


@given(value=VALUES, name=st.sampled_from(sorted(KINDS)))
def test_what_is_read_is_what_the_document_says(value: object, name: str) -> None:
    kind = KINDS[name]
    is_valid = jsonschema_rs.Draft202012Validator(dict(kind.schema)).is_valid(value)
    if takes(kind, value):
        assert is_valid
    elif is_valid:  # a pattern cannot count the days of months
        assert name in {"date", "instant", "wall"}


def test_a_list_has_as_many_entries_as_the_document_says() -> None:
    assert takes(KINDS["list"], ["09:00"] * 2)
    assert not takes(KINDS["list"], ["09:00"] * 3)


@given(text=st.one_of(st.text(max_size=5), st.from_regex("[A-Za-z0-9._:@-]{0,130}", fullmatch=True)))
def test_ids_are_what_the_rest_of_the_library_calls_ids(text: str) -> None:
    assert takes(ID, text) is is_id(text)


def test_the_document_names_every_path_of_the_contract(document: Any) -> None:
    asked = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    slot, virtual, plan = (
        "/calendar/slots/{slot_id}",
        "/calendar/slots/virtual/{virtual_id}",
        "/calendar/plans/{plan_id}",
    )
    assert asked == {
        ("POST", HEARTBEAT_PATH),
        ("PATCH", f"{slot}/agent-update"),
        ("PATCH", f"{virtual}/agent-update"),
        ("GET", "/calendar/agent/status"),
        ("POST", "/calendar/agent/status"),
        ("GET", DAY_PATH),
        ("GET", "/calendar/sync"),
        ("POST", "/calendar/slots"),
        ("PATCH", slot),
        ("PATCH", virtual),
        ("POST", f"{slot}/cancel"),
        ("POST", f"{virtual}/cancel"),
        ("POST", "/calendar/plans"),
        ("GET", "/calendar/plans"),
        ("GET", plan),
        ("PATCH", plan),
        ("POST", f"{plan}/cancel"),
    }
    assert update_path(SlotKey.real(1)) == f"{slot}/agent-update".format(slot_id=1)
    assert update_path(SlotKey.virtual("v")) == f"{virtual}/agent-update".format(virtual_id="v")


def test_the_document_tells_every_refusal(document: Any) -> None:
    always = {"401", "403", "404", "405", "409", "422", "423", "503"}
    for operation in OPERATIONS:
        responses = set(document["paths"][operation.path][operation.method.lower()]["responses"])
        assert always < responses
        assert ({"411", "413", "415"} <= responses) is (operation.body is not None)
        assert str(operation.status) in responses


def test_every_reference_of_the_document_leads_somewhere(document: Any) -> None:
    found = set(re.findall(r'"#/components/([a-zA-Z]+)/([A-Za-z0-9]+)"', str(document).replace("'", '"')))
    defined = {(kind, name) for kind, members in document["components"].items() for name in members}
    assert found == defined


def test_only_a_guarded_calendar_asks_for_a_key(document: Any) -> None:
    assert "security" not in document
    guarded = World(api_key="sesame").ask("GET", "/openapi.json", headers=CALLER).body
    assert guarded["security"] == [{"api_key": []}]
    assert guarded["components"]["securitySchemes"] == {"api_key": {"type": "http", "scheme": "bearer"}}
    assert "sesame" not in str(guarded)
