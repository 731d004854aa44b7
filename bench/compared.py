"""Who is compared with whom, in words."""

from bench.calendar.report import COMPARED as CALENDAR_COMPARED
from bench.journal import COMPARED as JOURNAL_COMPARED

HANDWRITTEN = "hand-written: json.loads, then Slot(...) in straight-line code that checks nothing"

HEARTBEATS = {
    "harborcal": "Scheduler over HttpTransport: Scheduler.tick() with its defaults and a host that does nothing",
    "careful": "requests: a session per thread, trust_env off, session.send of a copied PreparedRequest, json.loads",
    "naive": "requests: a session per thread, session.post(json=..., headers=..., timeout=10), response.json()",
    "urllib3": "urllib3 alone: a connection pool per thread, urlopen, json.loads",
    "harborcal-curl": "Scheduler over CurlTransport: Scheduler.tick() with its defaults, all agents in one batch",
    "multi": "libcurl's multi handle on one thread, perform and select, handles used again, json.loads",
    "curl-threads": "libcurl with an easy handle per thread, perform, json.loads",
}
"""Those who heartbeat."""

COMPARED = {**HEARTBEATS, "decode": HANDWRITTEN, "journal": JOURNAL_COMPARED, **CALENDAR_COMPARED}
