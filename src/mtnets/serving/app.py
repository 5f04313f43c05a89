"""The application: requests, page, health and metrics, behind the guard."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from importlib import resources
from typing import Any

from mtnets.errors import MtnetsError, OptionError, printable
from mtnets.learner import Learner

try:
    import prometheus_client
    import uvicorn
    from fastapi import FastAPI, HTTPException, Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import HTMLResponse, JSONResponse, Response
    from starlette.exceptions import HTTPException as StarletteHTTPException
except ImportError as error:
    raise OptionError(f"Serving needs {error.name}: pip install 'mtnets[serve]'.") from error

from mtnets.serving import forms, reference
from mtnets.serving.access import LOOPBACK
from mtnets.serving.api import router
from mtnets.serving.batching import Busy
from mtnets.serving.guard import Guard
from mtnets.serving.limits import Limits
from mtnets.serving.mistakes import UNREADABLE, mistake
from mtnets.serving.service import Service
from mtnets.serving.warming import warm_up

NEEDED = prometheus_client, uvicorn  # by other files of this room
PAGE = {
    "/": ("index.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
}
UNPARSED = "There was an error parsing the body"  # as FastAPI says it
RETRY_SECONDS = 1  # after which a client that was not answered may try again
ABOUT = """Learns tasks from a few examples and predicts.

POST /v1/tasks makes a task of examples x and y; POST /v1/tasks/{id}/predict predicts other x by it. What x are of a
learner, GET /v1/learners says. Errors are one sentence, as detail."""


def create_app(
    learners: Mapping[str, Learner],
    limits: Limits | None = None,
    *,
    tables: bool = False,
    token: str | None = None,
    hosts: Iterable[str] | None = LOOPBACK,
    frames: Sequence[str] = (),
    lists: bool = True,
    warm: Mapping[str, Sequence[int]] | None = None,
    warm_together: int | None = None,
) -> Any:
    """An ASGI application that serves learners.

    Args:
      learners: by name; the first is the one that requests without a name mean.
      limits: what may be asked of it.
      tables: whether it completes pasted tables too, by the learners for tables that ship.
      token: that requests must bring; None for none.
      hosts: names that the Host header may have; None for any.
      frames: sites that may show the page within theirs.
      lists: whether clients may see which tasks there are.
      warm: sizes of support sets by learner, for which programs are compiled at the start.
      warm_together: tasks of one call up to which these programs are. Defaults to the limit.

    Raises:
      OptionError: for a learner whose targets no request can have.
    """
    limits = limits or Limits()
    service = Service(learners, limits, tables=tables)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        work = asyncio.create_task(service.batcher.run())
        warming = asyncio.create_task(_warm(service, warm or {}, warm_together or limits.together))
        yield
        warming.cancel()
        service.batcher.stop()
        await work

    app = FastAPI(
        title="mtnets serve",
        description=ABOUT,
        version=_version(),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    app.include_router(router(service, lists=lists))
    _add_page(app)
    _add_health(app, service)
    _add_errors(app)
    return Guard(app, service.metrics, token, hosts, frames, int(limits.body_mb * 1e6))


async def _warm(service: Service, sizes: Mapping[str, Sequence[int]], together: int) -> None:
    """Compiles in the thread of the device, and then says that the server is ready."""
    for name, examples in sizes.items():
        for count in examples:  # requests may come in between
            await service.batcher.on_device(warm_up, service.learners[name], together, count)
    service.ready = True


def _add_page(app: FastAPI) -> None:
    folder = resources.files("mtnets.serving") / "page"

    def serve(name: str, kind: str) -> Any:
        content = (folder / name).read_bytes()

        async def page() -> Response:
            return Response(content, media_type=kind)

        return page

    for address, (name, kind) in PAGE.items():
        app.add_api_route(address, serve(name, kind), include_in_schema=False)

    async def docs() -> HTMLResponse:
        return HTMLResponse(reference.page(app.openapi()))

    app.add_api_route("/docs", docs, include_in_schema=False)


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/healthz")
    async def healthz() -> forms.Status:
        """Whether the server runs."""
        return forms.Status(status="ok")

    @app.get("/readyz", responses={503: {"model": forms.Problem, "description": "Programs are being compiled."}})
    async def readyz() -> forms.Status:
        """Whether it has compiled what it was told to."""
        if not service.ready:
            raise HTTPException(503, "Programs are being compiled; ask again.", {"Retry-After": str(RETRY_SECONDS)})
        return forms.Status(status="ready")

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """What the server counts, for Prometheus."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


def _add_errors(app: FastAPI) -> None:
    """Errors as one sentence, and never how the server came to them."""

    @app.exception_handler(MtnetsError)
    async def _refused(_: Request, error: Exception) -> JSONResponse:
        return _problem(422, str(error))

    @app.exception_handler(Busy)
    async def _busy(_: Request, __: Exception) -> JSONResponse:
        return _problem(503, "As many requests wait as may; try again later.", {"Retry-After": str(RETRY_SECONDS)})

    @app.exception_handler(RequestValidationError)
    async def _invalid(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return _problem(422, mistake(error.errors()[0]))

    @app.exception_handler(StarletteHTTPException)
    async def _absent(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, StarletteHTTPException)
        absent = f"There is no {request.method} {request.url.path:.200}; /docs lists the requests."
        ours = {"Not Found": absent, "Method Not Allowed": absent, UNPARSED: UNREADABLE}
        return _problem(error.status_code, ours.get(error.detail, error.detail), error.headers)

    @app.exception_handler(Exception)
    async def _failed(_: Request, __: Exception) -> JSONResponse:
        return _problem(500, "The server failed at this request; its log says why.")


def _problem(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": printable(sentence)}, status, headers)


def _version() -> str:
    from importlib.metadata import version

    return version("mtnets")
