"""A Flask service under gunicorn: of its workers exactly one schedules, and every one answers status and reports.

``gunicorn --config examples/gunicorn/gunicorn.conf.py service:app``. Whoever gets the lock runs the scheduler and its
control API; the others reach it there. When that worker goes, another one gets the lock and goes on from the journal.
"""

import logging
import os
import threading
from pathlib import Path

from flask import Flask, jsonify, request
from flask.typing import ResponseReturnValue

import harborcal as hc
from harborcal.calendar import Calendar
from harborcal.control import ControlClient, SoleProcess, Tokens
from harborcal.server import ControlServer, create_control_app

STATE = Path(os.environ.get("SERVICE_STATE", "state")).resolve()
ADDRESS = f"unix:{STATE / 'control.sock'}"
AGENTS = [hc.Agent(id="developer"), hc.Agent(id="reviewer")]
LOOK_AGAIN = 1.0
"""Seconds between two looks whether the worker that schedules is gone."""

log = logging.getLogger("service")


def work(wake: hc.WakeRequest) -> None:
    """Hand a wake to its agent. Here it works elsewhere and reports over this service's HTTP."""
    log.warning("%s was told: %s", wake.agent_id, wake.message)


class Duty:
    """Schedules in this worker for as long as no other one does."""

    def __init__(self) -> None:
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="duty", daemon=True)

    def start(self) -> None:
        """Begin to wait for the turn; called in the worker, after the fork."""
        self._thread.start()

    def stop(self) -> None:
        """Let go of it."""
        self._is_over.set()
        self._thread.join(20)

    def _run(self) -> None:
        with SoleProcess(STATE / "lock") as sole:
            while not self._is_over.is_set():
                if sole.acquire():
                    self._schedule()
                self._is_over.wait(LOOK_AGAIN)

    def _schedule(self) -> None:
        with Calendar(f"sqlite:///{STATE / 'calendar.db'}") as calendar:
            for agent in AGENTS:
                calendar.register_agent(agent.id)
            embedded = hc.EmbeddedTransport(calendar, "service")
            outbox = hc.OutboxTransport(embedded, hc.Journal(STATE / "journal"))
            scheduler = hc.Scheduler(outbox, hc.CallbackHost(work), lambda: AGENTS)
            app = create_control_app(scheduler, Tokens.kept_in(STATE / "secret"), day=embedded, outbox=outbox)
            with scheduler, ControlServer(app, ADDRESS) as server:
                answering = threading.Thread(target=server.run, name="control", daemon=True)
                answering.start()
                log.warning("worker %s schedules", os.getpid())
                self._is_over.wait()
                server.close()
                answering.join()


def create_app() -> Flask:
    """Build what each worker serves."""
    STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
    service = ControlClient(ADDRESS, Tokens.kept_in(STATE / "secret").operator)
    app = Flask(__name__)

    @app.get("/status")
    def status() -> ResponseReturnValue:
        return jsonify({"worker": os.getpid(), "scheduler": service.status()})

    @app.get("/agents/<agent_id>/why")
    def why(agent_id: str) -> ResponseReturnValue:
        return jsonify(service.agent(agent_id).why())

    @app.post("/agents/<agent_id>/complete")
    def complete(agent_id: str) -> ResponseReturnValue:
        return jsonify(service.agent(agent_id).complete(str(request.get_json().get("summary", ""))))

    @app.post("/agents/<agent_id>/abort")
    def abort(agent_id: str) -> ResponseReturnValue:
        return jsonify(service.agent(agent_id).abort(str(request.get_json().get("reason", ""))))

    @app.errorhandler(hc.HarborcalError)
    def refuse(error: hc.HarborcalError) -> ResponseReturnValue:
        is_passing = isinstance(error, hc.TransportError | hc.LifecycleError | hc.ControlError)
        return {"error": str(error)}, 503 if is_passing else 409

    return app


app = create_app()
