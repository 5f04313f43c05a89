"""The server: it listens, answers, and ends well."""

import errno
import os
import socket
import threading
from collections.abc import Callable
from typing import Any

import uvicorn

from mtnets.errors import OptionError
from mtnets.serving.access import LARGEST_PORT, Access
from mtnets.serving.limits import Limits
from mtnets.stopping import stopping

LAST_SECONDS = 30  # in which requests that run may end when the server stops
POLL_SECONDS = 0.2


def serve(app: Any, access: Access, limits: Limits, *, say: Callable[[str], None] = print) -> None:
    """Serves an application until Ctrl-C or SIGTERM, and answers what has begun.

    Args:
      app: of `create_app`.
      access: where it listens.
      limits: how many connections there may be.
      say: told the address.

    Raises:
      OptionError: where it cannot listen.
    """
    config = uvicorn.Config(
        app,
        access.host,
        access.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=limits.connections,
        timeout_graceful_shutdown=LAST_SECONDS,
    )
    listening = _listening(access, config.backlog)  # from here on nobody is refused who was told the address
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],))
    with stopping("stopping when what has begun is answered") as asked:  # signals reach the main thread alone
        thread.start()
        host = f"[{access.host}]" if ":" in access.host else access.host
        say(f"http://{host}:{listening.getsockname()[1]}/")
        while thread.is_alive():
            thread.join(POLL_SECONDS)
            server.should_exit = server.should_exit or bool(asked)
    listening.close()


def _listening(access: Access, backlog: int) -> socket.socket:
    """A socket that listens. Raises OptionError where none can; uvicorn's own would log a line beside it."""
    family = socket.AF_INET6 if ":" in access.host else socket.AF_INET
    try:
        return socket.create_server((access.host, access.port), family=family, backlog=backlog)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            other = access.port + (1 if access.port < LARGEST_PORT else -1)
            raise OptionError(
                f"Port {access.port} of {access.host} is in use; stop what uses it, or take port={other} (0 finds a "
                "free one)."
            ) from None
        reason = os.strerror(error.errno) if isinstance(error.errno, int) and error.errno > 0 else str(error)
        raise OptionError(
            f"host is {access.host} and port {access.port}, where this machine cannot listen ({reason}); name one of "
            "its addresses, and a port that you may use (0 finds a free one)."
        ) from None
