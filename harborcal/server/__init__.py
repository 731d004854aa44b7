"""HTTP: the carried calendar after the HarborForge contract, and a running scheduler's control API.

Read in this order: `fields` and `kinds` (what a value in a request may look like, and how it is read), `operations`
(what can be asked), `agent_side`, `user_side` and `user_plans` (all that can be asked, and what answers it), `writing`
(answers), `reading` (requests), `app` (the WSGI application), `openapi` (the same tables as a document), `serving`
(waitress). The control API is `control_app` (what is answered to whom) and `control_serving` (where it listens).

It comes with the extra ``server``: ``pip install 'harborcal[server]'``.
"""

from harborcal.errors import MissingExtraError

try:
    import flask  # noqa: F401 - only to see whether it is there
    import waitress  # noqa: F401
except ImportError as missing:
    raise MissingExtraError("harborcal.server", "server") from missing

from harborcal.server.app import create_app
from harborcal.server.control_app import create_control_app
from harborcal.server.control_serving import ControlServer
from harborcal.server.serving import Server, serve

__all__ = ["ControlServer", "Server", "create_app", "create_control_app", "serve"]
