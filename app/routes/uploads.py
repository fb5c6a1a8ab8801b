"""Files that a browser uploads."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from app import state
from app.routes.requests import answer_error, answer_json, parse_integer, require_content_type

PART_BYTES = 1 << 20
"""Bytes of an upload that are held in memory before they are written."""


async def upload(request: Request) -> Response:
    """Write a file, the body of the request, to the workspace as it arrives."""
    name = request.query_params.get("name", "")
    try:
        require_content_type(request, "application/octet-stream")
        announced = parse_integer(request.headers.get("content-length"), 0)
        with await run_in_threadpool(state.workspace().upload, name, announced) as file:
            block = bytearray()
            async for piece in request.stream():
                block += piece
                if len(block) >= PART_BYTES:
                    await run_in_threadpool(file.write, bytes(block))
                    block.clear()
            await run_in_threadpool(file.write, bytes(block))
            path = await run_in_threadpool(file.keep)
            return answer_json({"content": path.parent.name, "name": path.name, "bytes": file.bytes})
    except ClientDisconnect:  # cancelled, or the connection is gone: nobody hears the answer
        return answer_json({"error": "The file did not arrive whole."}, 400)
    except OSError as error:
        return answer_json({"error": f"{name!r} could not be kept: {error.strerror}."}, 503)
    except Exception as error:
        return answer_error(error)
