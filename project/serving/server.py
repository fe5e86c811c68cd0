"""Serves a saved model over HTTP on 127.0.0.1, by the protocol of MLflow's scoring server.

https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/
"""

import base64
import json
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from io import BytesIO, StringIO
from typing import Any

import numpy as np
import pandas as pd
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import JSONResponse

from project.core.arrays import Array
from project.core.console import say
from project.core.errors import UserError, one_line
from project.core.ports import check_port_free
from project.core.signals import Stopped
from project.core.types import ModelId, Port
from project.data.images.decode import Unreadable, decode
from project.data.tables.columns import encode_frame
from project.data.tables.source import parse_csv
from project.serving.predict import SavedModel, load_model

FIELDS = ("inputs", "instances", "dataframe_records", "dataframe_split")
PARSERS: dict[str, Callable[[bytes], Any]] = {
    "application/json": json.loads,
    # As texts, because a value must not change its meaning with the rows around it.
    "text/csv": lambda body: parse_csv(StringIO(body.decode()), as_texts=True),
    "application/vnd.apache.parquet": lambda body: pd.read_parquet(BytesIO(body)),
}


def serve(run: ModelId, port: Port = 5001) -> None:
    """Serves a saved model over HTTP on this machine until Ctrl-C.

    Args:
        run: Run that trained the model, or a registered model such as models:/digits-cnn@champion.
        port: Port of 127.0.0.1 to listen on.
    """
    check_port_free(port)
    model = load_model(run)
    content = '{"dataframe_records": [{"<column>": <value>, ...}]}'
    if model.contract.is_image:
        content = '{"inputs": ["<image file in base64>"]}'
    say(
        f"serving {run} (Ctrl-C ends it):\n\n"
        f"  curl http://127.0.0.1:{port}/invocations -H 'Content-Type: application/json' \\\n"
        f"    -d '{content}'\n"
    )
    with suppress(Stopped):  # After its shutdown, uvicorn repeats the signal that ended it.
        uvicorn.run(make_app(model), host="127.0.0.1", port=port, log_level="warning")


def make_app(model: SavedModel) -> FastAPI:
    """The HTTP application; it accepts only requests that are addressed to this machine."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    # A web page could otherwise reach the server by a host name that resolves to 127.0.0.1.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])

    @app.get("/health")
    @app.get("/ping")
    def ping() -> Response:
        return Response("\n", media_type="application/json")

    @app.get("/version")
    def protocol_version() -> Response:
        return Response(version("mlflow"), media_type="application/json")

    @app.post("/invocations")
    async def invocations(request: Request) -> Response:
        content_type = request.headers.get("content-type", "")
        return await run_in_threadpool(_respond, model, await request.body(), content_type)

    return app


def _respond(model: SavedModel, body: bytes, content_type: str) -> Response:
    kind, *parameters = [part.strip().lower() for part in content_type.split(";")]
    if kind not in PARSERS or parameters not in ([], ["charset=utf-8"]):
        known = ", ".join(PARSERS)
        message = f"content type: {content_type}: expected {known}, with charset utf-8 or none"
        return JSONResponse({"error_code": "UNSUPPORTED_MEDIA_TYPE", "message": message}, 415)
    try:
        table = _predict(model, _parse(body, kind))
    except (UserError, OverflowError) as error:  # an integer of JSON may exceed every float
        message = one_line(error)
        return JSONResponse({"error_code": "INVALID_PARAMETER_VALUE", "message": message}, 400)
    # JSON has no NaN: a prediction that overflowed becomes null.
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return Response(json.dumps({"predictions": rows}), media_type="application/json")


def _parse(body: bytes, kind: str) -> Any:
    try:
        content = PARSERS[kind](body)
    except RecursionError:
        raise UserError("body: nested too deeply: expected a table or arrays of pixels") from None
    except (ValueError, OSError) as error:
        raise UserError(f"body: not {kind} ({error}): expected a table or images") from None
    if isinstance(content, pd.DataFrame):
        return content
    names = [name for name in FIELDS if name in content] if isinstance(content, dict) else []
    if len(names) != 1:
        raise UserError(f"body: expected a JSON object with exactly one of {', '.join(FIELDS)}")
    name, value = names[0], content[names[0]]
    if name == "dataframe_split":
        known = {"columns", "data", "index"}  # Row labels, written by pandas, are ignored.
        if not isinstance(value, dict) or not {"data"} <= value.keys() <= known:
            raise UserError(f'{name}: expected {{"columns": [...], "data": [[...], ...]}}')
        return _to_frame(value["data"], value.get("columns"))
    if name == "dataframe_records" and not isinstance(value, list):
        raise UserError(f"{name}: expected a list of objects, one per row")
    return _to_frame(value) if name == "dataframe_records" else value


def _predict(model: SavedModel, inputs: Any) -> pd.DataFrame:
    shape = model.contract.shape
    if model.contract.is_image:
        return model.to_table(model.predict(_to_images(inputs, shape)))
    frame = _to_frame(inputs)
    rows, notes, usable = encode_frame(frame, model.contract.columns, shape[0], "inputs")
    if not len(rows):
        raise UserError("inputs: no rows: expected at least one")
    if not all(usable):
        row = int(usable.argmin())
        raise UserError(f"row {row}: {notes[row]}: expected a number, or null")
    table = model.to_table(model.predict(rows))
    return table.assign(note=notes) if any(notes) else table


def _to_images(inputs: Any, shape: tuple[int, ...]) -> Array:
    expected = f"expected arrays of shape {shape} of 0 to 255, or image files in base64"
    if isinstance(inputs, pd.DataFrame):
        if inputs.shape[1] != 1:
            raise UserError(f"inputs: {inputs.shape[1]} columns: {expected} in one column")
        inputs = inputs.iloc[:, 0].tolist()
    if isinstance(inputs, list) and inputs and all(isinstance(each, str) for each in inputs):
        return np.stack([_decode(each, index, shape) for index, each in enumerate(inputs)])
    try:
        array = np.asarray(inputs, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        raise UserError(f"inputs: not an array of numbers: {expected}") from None
    if array.ndim != 4 or array.shape[1:] != shape or not len(array):
        raise UserError(f"inputs: an array of shape {array.shape}: {expected}, at least one")
    if not ((array >= 0) & (array <= 255) & (array == np.round(array))).all():
        raise UserError(f"inputs: pixels that are not integers of 0 to 255: {expected}")
    return array.astype(np.uint8)


def _decode(text: str, index: int, shape: tuple[int, ...]) -> Array:
    try:
        return decode(base64.b64decode(text, validate=True), shape)[0]
    except ValueError:
        raise UserError(f"input {index}: not base64: expected an image file in base64") from None
    except Unreadable as error:
        raise UserError(f"input {index}: {error} (expected an image file)") from None


def _to_frame(rows: Any, columns: Any = None) -> pd.DataFrame:
    try:
        frame = pd.DataFrame(rows, columns=columns)
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"inputs: not a table ({error}): expected rows with column names") from None
    frame.columns = frame.columns.map(str)
    if doubled := frame.columns[frame.columns.duplicated()].tolist():
        raise UserError(f"inputs: column '{doubled[0]}' is listed twice: expected each once")
    return frame
