"""MLflow's scoring server around a saved model, for images and tables as users send them."""

import base64
import binascii
from io import StringIO
from typing import Any

import numpy as np
import pandas as pd
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import scoring_server
from starlette.middleware.trustedhost import TrustedHostMiddleware

from project.core.arrays import Array
from project.core.errors import UserError
from project.data.images.decode import Unreadable, decode
from project.data.tables.read import parse_csv
from project.serving.predictor import Scorer


class _Metadata:
    """What the server asks of a model: nothing, as inputs are checked here, in words."""

    def get_input_schema(self) -> None:
        return None

    def get_params_schema(self) -> None:
        return None


class Refused(MlflowException):
    """A mistake in a request, status 400.

    Args:
        message: that is kept; MLflow would put all that was sent in front of it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message, error_code=INVALID_PARAMETER_VALUE)

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "message" or not hasattr(self, "message"):
            super().__setattr__(name, value)


class Served:
    """A model as MLflow's scoring server calls it.

    Args:
        scorer: that answers.
    """

    metadata = _Metadata()

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer

    def predict(self, data: Any) -> pd.DataFrame:
        """Answers a request.

        Args:
            data: of images: arrays (N, H, W, C) of 0 to 255, or files in base64; of tables: rows
                with the names of their columns.

        Raises:
            Refused: it isn't that.
        """
        notes: dict[str, list[str]] = {}
        try:
            if self.scorer.contract.is_image:
                inputs = self._images(data)
            else:
                inputs, found = self._rows(data)
                if any(found):  # such as a category that training has not seen
                    notes["note"] = found
        except UserError as error:
            raise Refused(str(error)) from None
        return self.scorer.answer(self.scorer.predict(inputs)).assign(**notes)

    def _images(self, data: Any) -> Array:
        shape = self.scorer.contract.shape
        expected = f"expected arrays of shape {shape} of 0 to 255, or image files in base64"
        if isinstance(data, pd.DataFrame):
            if data.shape[1] != 1:
                raise UserError(f"{data.shape[1]} columns: {expected} in one column")
            data = data.iloc[:, 0].tolist()
        if isinstance(data, np.ndarray):
            data = data.tolist()
        if isinstance(data, list) and data and all(isinstance(each, str) for each in data):
            return np.stack([self._decode(each, index) for index, each in enumerate(data)])
        try:
            array = np.asarray(data, dtype=np.float64)
        except (ValueError, TypeError):
            raise UserError(f"these are no images: {expected}") from None
        if array.ndim != 4 or array.shape[1:] != shape or not len(array):
            raise UserError(f"an array of shape {array.shape}: {expected}, one or more of them")
        images = array.astype(np.uint8)
        if not (images == array).all():
            raise UserError(f"pixels that are no whole numbers of 0 to 255: {expected}")
        return images

    def _decode(self, text: str, index: int) -> Array:
        try:
            return decode(base64.b64decode(text, validate=True), self.scorer.contract.shape)[0]
        except (binascii.Error, ValueError):
            raise UserError(f"input {index}: no base64: expected an image file in it") from None
        except Unreadable as error:
            raise UserError(f"input {index}: {error}: expected an image file") from None

    def _rows(self, data: Any) -> tuple[Array, list[str]]:
        if not isinstance(data, pd.DataFrame):
            try:
                data = pd.DataFrame(data)
            except (ValueError, TypeError):
                raise UserError("no table: expected rows with the names of columns") from None
        data.columns = data.columns.map(str)
        rows, notes, usable = self.scorer.read_rows(data, "inputs")
        if not len(rows):
            raise UserError("no rows: expected one or more")
        if not all(usable):
            row = int(usable.argmin())
            raise UserError(f"row {row}: {notes[row]}: expected a number, or null")
        return rows, notes


def _parse_csv(csv_input: StringIO, schema: None) -> pd.DataFrame:
    try:
        return parse_csv(csv_input, as_texts=True)
    except ValueError as error:
        raise Refused(f"no CSV ({error}): expected a table") from None


async def _refuse_nesting(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error_code": "INVALID", "message": "nested too deeply"}, 400)


def make_app(scorer: Scorer) -> FastAPI:
    """The server's application; it answers requests that are addressed to this machine alone."""
    # In MLflow's own way a value would mean something else with other rows around it.
    scoring_server.parse_csv_input = _parse_csv  # type: ignore[assignment]
    app: FastAPI = scoring_server.init(Served(scorer))  # type: ignore[arg-type]
    app.add_exception_handler(RecursionError, _refuse_nesting)
    # A page in a browser must not reach it by a name that it has pointed to this address.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    return app


def serve(scorer: Scorer, port: int) -> None:
    """Serves on 127.0.0.1 until Ctrl-C or SIGTERM."""
    uvicorn.run(make_app(scorer), host="127.0.0.1", port=port, log_level="warning")
