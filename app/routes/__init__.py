"""The URLs that a browser asks for beside the pages; `app.server.Door` checks that a request comes from our own pages."""

from starlette.routing import Route

from app.routes.decisions import decide, history, redo, undo
from app.routes.explanations import layers, why
from app.routes.maps import map_array
from app.routes.queue import claim, shares, window
from app.routes.requests import handle_get, handle_post
from app.routes.reviewers import name
from app.routes.runs import classes, job
from app.routes.samples import image, text, tokens
from app.routes.uploads import upload

ROUTES = [
    Route("/oga/upload", upload, methods=["POST"]),
    Route("/oga/job/{run}/{kind}", handle_get(job)),
    Route("/oga/image/{run}/{index:int}/{size:int}", handle_get(image)),
    Route("/oga/text/{run}/{index:int}", handle_get(text)),
    Route("/oga/classes/{run}", handle_get(classes)),
    Route("/oga/map/{run}/{kind}/{name}", handle_get(map_array)),
    Route("/oga/window/{run}/{queue}", handle_get(window)),
    Route("/oga/shares/{run}/{queue}", handle_get(shares)),
    Route("/oga/why/{run}/{row:int}", handle_get(why)),
    Route("/oga/layers/{run}/{row:int}", handle_get(layers)),
    Route("/oga/tokens/{run}/{row:int}", handle_get(tokens)),
    Route("/oga/history/{run}/{row:int}", handle_get(history)),
    Route("/oga/decide", handle_post(decide), methods=["POST"]),
    Route("/oga/undo", handle_post(undo), methods=["POST"]),
    Route("/oga/redo", handle_post(redo), methods=["POST"]),
    Route("/oga/claim", handle_post(claim), methods=["POST"]),
    Route("/oga/name", handle_post(name), methods=["POST"]),
]
