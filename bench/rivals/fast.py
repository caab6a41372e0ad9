"""The banner page on FastAPI, on uvicorn with uvloop and httptools."""

import random

import uvicorn
from fastapi import FastAPI, Request, Response
from page import arguments

page, port = arguments()
app = FastAPI(openapi_url=None)
campaigns = {int(page.path.split("/")[2]): [body.encode() for body in page.bodies]}
indexes = {value: index for index, value in enumerate(page.values)}
headers = dict(page.headers)


@app.get("/campaigns/{campaign}/")
async def show(campaign: int, request: Request) -> Response:
    """A banner other than the one that the cookie names."""
    bodies = campaigns.get(campaign)
    if bodies is None:
        return Response(status_code=404)
    index = random.randrange(len(bodies))
    last = indexes.get(request.cookies.get(page.cookie, ""))
    if last is not None and len(bodies) > 1:
        index = (last + random.randrange(1, len(bodies))) % len(bodies)
    response = Response(bodies[index], headers=headers)
    response.set_cookie(page.cookie, page.values[index], **page.attributes)
    return response


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
        backlog=4096,
    )
