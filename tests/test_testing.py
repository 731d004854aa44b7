import inspect

import harborcal.testing
from harborcal.model import Agent, SlotStatus
from harborcal.scheduler import Scheduler


def test_the_ten_lines_of_the_rooms_docstring_work() -> None:
    lines = inspect.cleandoc(harborcal.testing.__doc__ or "").splitlines()
    code = "\n".join(line[4:] for line in lines if line.startswith("    "))
    names = {name: getattr(harborcal.testing, name) for name in harborcal.testing.__all__}
    assert code.count("assert ") == 2
    exec(code, {**names, "Agent": Agent, "Scheduler": Scheduler, "SlotStatus": SlotStatus})


def test_every_public_name_is_there_and_documented() -> None:
    for name in harborcal.testing.__all__:
        value = getattr(harborcal.testing, name)
        assert not inspect.isclass(value) or inspect.getdoc(value)
