"""The pages: plain HTML, CSS and JavaScript that ask the API and nobody else."""

from importlib.resources import files

from fastapi import FastAPI, Response

PAGES = {"/": "index.html", "/admin": "admin.html", "/docs": "docs.html"}
TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
ASSETS = ("style.css", "common.js", "index.js", "admin.js", "docs.js", "icon.svg")


def add_pages(app: FastAPI) -> None:
    """Routes of the pages and of what they load, read once."""
    folder = files(__name__)
    for route, name in PAGES.items():
        _add(app, route, name, (folder / name).read_bytes())
    for name in ASSETS:
        _add(app, f"/static/{name}", name, (folder / name).read_bytes())


def _add(app: FastAPI, route: str, name: str, content: bytes) -> None:
    kind = TYPES[name.rpartition(".")[2]]

    async def page() -> Response:
        return Response(content, media_type=kind)

    app.add_api_route(route, page, include_in_schema=False)
