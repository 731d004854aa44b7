"""A Flask app as a host: agents fetch their wakes from an inbox and report over HTTP; the scheduler runs beside it.

Run it, then ``curl localhost:5000/agents/dev/inbox`` and ``curl --json '{}' localhost:5000/agents/dev/complete``.
Nobody is asked who they are: keep it on loopback, or put a login in front.
"""

from collections.abc import Sequence
from queue import SimpleQueue

from flask import Flask, abort, jsonify, request
from flask.typing import ResponseReturnValue

import harborcal as hc
from harborcal.testing import InMemoryCalendar


def create_app(transport: hc.Transport, agents: Sequence[hc.Agent]) -> Flask:
    """Build the app. Its scheduler is ``app.extensions["harborcal"]``; whoever serves the app starts and stops it."""
    app = Flask(__name__)
    inboxes: dict[str, SimpleQueue[dict[str, str]]] = {agent.id: SimpleQueue() for agent in agents}

    def deliver(wake: hc.WakeRequest) -> None:
        inboxes[wake.agent_id].put({"message": wake.message, "source": wake.source, "wake_id": wake.wake_id})

    scheduler = app.extensions["harborcal"] = hc.Scheduler(transport, hc.CallbackHost(deliver), lambda: agents)

    @app.get("/status")
    def status() -> ResponseReturnValue:
        return jsonify(scheduler.status().to_dict())

    @app.get("/agents/<agent_id>/inbox")
    def inbox(agent_id: str) -> ResponseReturnValue:
        waiting = inboxes.get(agent_id) or abort(404)
        return jsonify([waiting.get_nowait() for _ in range(waiting.qsize())])  # nobody else reads this inbox

    @app.post("/agents/<agent_id>/<any(complete, abort, pause, resume):verb>")
    def report(agent_id: str, verb: str) -> ResponseReturnValue:
        body = request.get_json()
        if not isinstance(body, dict):
            abort(400)
        known = {"complete": ["summary"], "abort": ["reason"], "pause": ["reason"], "resume": []}[verb]
        getattr(scheduler, verb)(agent_id, **{name: str(body[name]) for name in known if name in body})
        return "", 204

    @app.errorhandler(hc.HarborcalError)
    def refuse(error: hc.HarborcalError) -> ResponseReturnValue:
        return {"error": str(error)}, 503 if isinstance(error, hc.TransportError | hc.LifecycleError) else 409

    return app


if __name__ == "__main__":
    calendar = InMemoryCalendar(agents=["dev"])
    calendar.add_slot("dev", event_type="job", event_data={"type": "Task", "code": "TASK-42"})
    app = create_app(calendar, [hc.Agent(id="dev")])
    with app.extensions["harborcal"]:
        app.run(port=5000)
