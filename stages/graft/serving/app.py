"""The addresses of the server: a page for people, and an interface for programs."""

import asyncio
import base64
import hashlib
import re
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as StarletteError

from stages.graft.serving.answering import Answering, Asked, Described, ImageAnswer, ModelAnswers
from stages.graft.serving.batching import Batcher
from stages.graft.serving.corrections import Corrections
from stages.graft.serving.counters import CONTENT_TYPE, Counters
from stages.graft.serving.gate import Gate, client_of, error_json
from stages.graft.serving.limits import MB, Limits, RefusedError
from stages.graft.serving.multipart import boundary_of, read_parts

PAGE, DOCS = Path(__file__).with_name("page.html"), Path(__file__).with_name("docs.html")

MAX_NEAREST = 20
"""Training images that may be asked for."""

NOTHING_HERE = "there is nothing at this address; /docs describes the interface"

GONE = 499
"""Status, in the counters alone, of a request whose client is gone."""

BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "image/*": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"image": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                }
            },
        },
    }
}
"""The body of a request, for the description of the interface."""


class Refusal(Described):
    """The answer to a request that is refused, with its status."""

    error: str
    """Why, in plain words."""


class ServedModelInfo(Described):
    """What is served."""

    name: str
    """The model as it was named at the start."""
    version: str
    """SHA-256 of its record."""
    classes: list[str]
    """Its classes."""
    labels: list[str]
    """Its classes, and those that people have added."""
    maps_problem: str | None
    """Why there are no heat maps; null: there are."""
    num_training_images: int
    """Training images that are compared; 0: none are here."""
    can_correct: bool
    """Whether corrections are taken."""
    max_mb: float
    """Largest body of a request, in millions of bytes."""
    max_images: int
    """Images in a request, at most."""


class Saved(Described):
    """A correction is saved."""

    label: str
    """The class under which the image is saved."""


REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Refusal, "description": why}
    for status, why in {
        400: "damaged request",
        413: "too large, or too many images",
        422: "not an image that can be read",
        429: "too many requests at once from one client",
        503: "too busy",
    }.items()
}


@dataclass(frozen=True, kw_only=True)
class Service:
    """What the addresses need."""

    name: str
    """The model as the user named it."""
    answering: Answering
    """Answers images."""
    batcher: Batcher[Asked, ImageAnswer]
    """Gives them to workers."""
    corrections: Corrections | None
    """Saves corrected images; None: they are refused."""
    limits: Limits
    """Bounds of requests."""
    counters: Counters
    """Count what happens."""
    only_local: bool
    """As in `Gate`."""


def make_app(service: Service) -> Gate:
    """Make the application of ASGI."""
    app = FastAPI(
        title="Graft", version=service.answering.version[:12], docs_url=None, redoc_url=None,
        description="Classifies images. Every refusal has the reason in `error`.",
    )  # fmt: skip
    gate = Gate(app, service.limits, service.counters, security_headers(), service.only_local)
    _add_pages(app)
    _add_answers(app, service)
    _add_corrections(app, service)
    _add_watch(app, service, gate)
    app.add_exception_handler(RefusedError, _refuse)
    app.add_exception_handler(StarletteError, _refuse_address)
    app.add_exception_handler(Exception, _fail)
    app.add_exception_handler(RequestValidationError, _refuse_values)
    return gate


def security_headers() -> dict[str, str]:
    """Give the headers of every answer: a browser runs the pages' own scripts, and asks no other server."""
    pages = [path.read_text(encoding="utf-8") for path in (PAGE, DOCS)]
    scripts, styles = (" ".join(_hashes(pages, tag)) for tag in ("script", "style"))
    policy = (
        f"default-src 'none'; script-src {scripts}; style-src {styles}; img-src 'self' data: blob:; "
        "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-store",
    }


def _hashes(pages: list[str], tag: str) -> list[str]:
    """Name the content of a page's own scripts or styles, for the policy."""
    contents = [content for page in pages for content in re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)]
    digests = [hashlib.sha256(content.encode()).digest() for content in contents]
    return [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]


def _add_pages(app: FastAPI) -> None:
    for path, file in (("/", PAGE), ("/docs", DOCS)):
        content = file.read_bytes()

        async def page(content: bytes = content) -> Response:
            return Response(content, media_type="text/html; charset=utf-8")

        app.add_api_route(path, page, include_in_schema=False)


def _add_answers(app: FastAPI, service: Service) -> None:
    @app.post("/answers", response_model=ModelAnswers, responses=REFUSALS, openapi_extra=BODY)
    async def answers(
        request: Request,
        maps: Annotated[bool, Query(description="Give heat maps.")] = False,
        preview: Annotated[bool, Query(description="Give the images as small JPEG files.")] = False,
        nearest: Annotated[int, Query(ge=0, le=MAX_NEAREST, description="Training images to give.")] = 0,
    ) -> Response:
        """Classify one image, which is the body, or several, which are the files of a form."""
        images, is_form = await _images_in(request, service.limits)
        asked = [
            Asked(data=data, file=file, with_map=maps, with_preview=preview, num_nearest=nearest)
            for file, data in images
        ]
        found = await _unless_gone(request, _ask_all(service.batcher, asked, client_of(request.scope)))
        if found is None:
            return Response(status_code=GONE)
        _count_images(found, service.counters)
        if not is_form and found[0].error is not None:
            raise RefusedError(422, found[0].error)
        result = ModelAnswers(model=service.answering.version, answers=found)
        return Response(result.model_dump_json(), media_type="application/json")

    @app.get("/training/{name}", responses={200: {"content": {"image/jpeg": {}}}}, response_class=Response)
    async def training_image(name: str) -> Response:
        """Give a training image, small; its name is in an answer."""
        training = service.answering.training
        found = None if training is None else await asyncio.to_thread(training.thumbnail, name.removesuffix(".jpg"))
        if found is None:
            raise RefusedError(404, "there is no such training image here")
        return Response(found, media_type="image/jpeg")


def _add_corrections(app: FastAPI, service: Service) -> None:
    @app.post("/corrections", response_model=Saved, responses=REFUSALS, openapi_extra=BODY)
    async def correct(
        request: Request,
        label: Annotated[str, Query(description="The right class.")],
        new: Annotated[bool, Query(description="The class may be one that is not known.")] = False,
    ) -> Response:
        """Save an image with its right class, to be used as a labelled image by the next run of the pipeline."""
        if service.corrections is None:
            raise RefusedError(403, "this server takes no corrections; start it with --corrections FOLDER")
        images, _ = await _images_in(request, service.limits)
        if len(images) != 1:
            raise RefusedError(400, f"expected one image, found {len(images)}")
        max_pixels = service.answering.predictor.max_pixels
        saved = await asyncio.to_thread(service.corrections.save, images[0][1], label, new, max_pixels)
        return Response(Saved(label=saved).model_dump_json(), media_type="application/json")


def _add_watch(app: FastAPI, service: Service, gate: Gate) -> None:
    @app.get("/model")
    async def model() -> ServedModelInfo:
        """Describe the model and the limits."""
        answering = service.answering
        classes = list(answering.predictor.classes)
        return ServedModelInfo(
            name=service.name,
            version=answering.version,
            classes=classes,
            labels=classes if service.corrections is None else service.corrections.classes,
            maps_problem=answering.maps_problem,
            num_training_images=0 if answering.training is None else len(answering.training),
            can_correct=service.corrections is not None,
            max_mb=service.limits.max_bytes / MB,
            max_images=service.limits.max_images,
        )

    @app.get("/health", response_class=Response)
    async def health() -> Response:
        """Say that the server runs."""
        return Response("ok\n", media_type="text/plain")

    @app.get("/ready", response_class=Response)
    async def ready() -> Response:
        """Say whether more can be taken on: 503 when not."""
        if gate.num_requests >= service.limits.max_requests:
            raise RefusedError(503, "the server is busy; try again in a moment")
        return Response("ready\n", media_type="text/plain")

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Give counters for Prometheus."""
        return Response(
            service.counters.to_text(gate.num_requests, service.batcher.num_waiting), media_type=CONTENT_TYPE
        )


async def _images_in(request: Request, limits: Limits) -> tuple[list[tuple[str, bytes]], bool]:
    """Give the images of a request, each with its name, and whether they are in a form."""
    body, boundary = await request.body(), boundary_of(request.headers.get("content-type", ""))
    if boundary is None:
        if not body:
            raise RefusedError(400, "there is no image in the request; send the file as the body, or in a form")
        return [("", body)], False
    parts = [part for part in read_parts(body, boundary, limits.max_images) if part.file or part.field == "image"]
    if not parts:
        raise RefusedError(400, "there is no file in the form")
    return [(part.file, part.content) for part in parts], True


async def _ask_all(batcher: Batcher[Asked, ImageAnswer], asked: list[Asked], client: str) -> list[ImageAnswer]:
    return list(await asyncio.gather(*(asyncio.wrap_future(batcher.ask(one, client)) for one in asked)))


async def _unless_gone(request: Request, work: Awaitable[list[ImageAnswer]]) -> list[ImageAnswer] | None:
    """Give the result of the work; when the client goes away, cancel what has not begun and give None."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_until_gone(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        task.cancel()
        gone.cancel()


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _count_images(found: list[ImageAnswer], counters: Counters) -> None:
    for one in found:
        damaged, unknown, unsure = one.error is not None, one.unknown, one.unsure
        outcome = "damaged" if damaged else "unknown" if unknown else "unsure" if unsure else "answered"
        counters.count_image(one.label, outcome)


async def _refuse(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    return Response(error_json(error.reason), error.status, media_type="application/json")


async def _refuse_values(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = [f"{'.'.join(map(str, problem['loc'][1:]))}: {problem['msg']}" for problem in error.errors()]
    return Response(error_json("; ".join(problems)), 422, media_type="application/json")


async def _refuse_address(_request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteError)
    reason = NOTHING_HERE if error.status_code == 404 else str(error.detail)
    return Response(error_json(reason), error.status_code, dict(error.headers or {}), "application/json")


async def _fail(_request: Request, _error: Exception) -> Response:
    return Response(error_json("the server failed; its output says why"), 500, media_type="application/json")
