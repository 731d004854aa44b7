"""A transport of your own: a JSON file is the calendar, and what becomes of each slot is written back into it.

Run it: it makes such a file, lets an agent work it off, and prints what then stands in it.
"""

import json
import tempfile
import threading
from pathlib import Path

import harborcal as hc

TODAY = """{"dev": [
  {"id": 1, "status": "not_started", "priority": 20, "scheduled_at": "00:00:00"},
  {"id": 2, "status": "not_started", "priority": 70, "event_type": "job", "event_data": {"code": "TASK-42"}}]}"""


class JsonFile:
    """A calendar of one day in a file: under each agent's id its slots. It is read anew for every call."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()  # a scheduler calls from several threads

    def heartbeat(self, agent_id: str) -> hc.Heartbeat:
        """List the agent's pending slots, the most urgent first."""
        with self._lock:
            day = json.loads(self._path.read_text())
        if agent_id not in day:
            raise hc.CalendarRefusedError(404, "Agent not found")
        pending = [slot for slot in map(hc.Slot.from_dict, day[agent_id]) if slot.status.is_pending]
        return hc.Heartbeat(slots=tuple(sorted(pending, key=lambda slot: -slot.priority)))

    def update_slot(self, agent_id: str, slot: hc.SlotKey, update: hc.SlotUpdate) -> hc.UpdateReceipt:
        """Write down where the slot stands; what the update leaves out stays as it was."""
        told = {"status": update.status, "started_at": update.started_at, "actual_duration": update.actual_duration}
        with self._lock:
            day = json.loads(self._path.read_text())
            entries = [entry for entry in day.get(agent_id, ()) if entry["id"] == slot.id]
            if not entries:
                raise hc.CalendarRefusedError(404, "Slot not found")
            entries[0].update({name: value for name, value in told.items() if value is not None})
            self._path.write_text(json.dumps(day, indent=2, default=str))
        return hc.UpdateReceipt(slot=slot)

    def close(self) -> None:
        """Nothing is held open."""


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "today.json")
        file.write_text(TODAY)
        host = hc.CallbackHost(lambda wake: print(wake.message))
        scheduler = hc.Scheduler(JsonFile(file), host, lambda: [hc.Agent(id="dev")])
        while scheduler.tick().woken:  # by hand, until nothing is due any more
            scheduler.complete("dev", "done")
        scheduler.stop()
        print(file.read_text())
