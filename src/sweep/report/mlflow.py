"""MLflow: one of its runs for each cell, beside the run folder, which stays the truth."""

import math
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sweep.errors import BadRequest
from sweep.report.columns import COLUMNS
from sweep.report.listener import Listener
from sweep.result import Result, Status

EXPERIMENT = "sweep"
MOST_FAILURES = 3
"""Rows that cannot be logged before no more are tried: each may have cost a time-out."""

PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
"""How long a store may keep the sweep waiting; by default it is minutes."""

_PARAMS = ("model", "conversion", "device", "batch_size", "threads")
_TAGS = ("id", "status", "reason", "message", "node", "hardware", "fingerprint", "engine.actual", "engine.precision")
_MOST_IN_A_KEY, _MOST_IN_A_PARAM, _MOST_IN_A_TAG = 250, 6000, 5000
"""What MLflow's stores take, of 2.x too: mlflow.utils.validation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """What is logged of one row."""

    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


def entry(row: Result) -> Entry:
    """A row in MLflow's nouns.

    Metrics are all columns of numbers but what was asked, truths as 0 and 1; what is missing, or no finite number, is
    none of them.
    """
    values = {column.name: column.value(row) for column in COLUMNS}
    numbers = {column.name for column in COLUMNS if column.type != "string"} - {"schema", *_PARAMS}
    asked = {name: values[name] for name in _PARAMS} | {f"overrides.{key}": row.overrides[key] for key in row.overrides}
    told = {name: values[name] for name in _TAGS} | {"versions.torch": row.versions.get("torch")}
    return Entry(
        params=_texts(asked, _MOST_IN_A_PARAM),
        metrics={
            name: float(value)
            for name, value in values.items()
            if name in numbers and value is not None and math.isfinite(value)
        },
        tags=_texts(told, _MOST_IN_A_TAG),
    )


def _texts(values: Mapping[str, object], most: int) -> dict[str, str]:
    """Those that are there, under names that MLflow takes."""
    return {
        re.sub(r"[^A-Za-z0-9_. -]", "_", key)[:_MOST_IN_A_KEY]: str(value)[:most]
        for key, value in values.items()
        if value not in (None, "")
    }


class Tracker(Listener):
    """Logs rows to an MLflow store; what goes wrong with it is kept in `problems` and ends nothing."""

    def __init__(self, uri: str, experiment: str = EXPERIMENT) -> None:
        """Raises BadRequest where mlflow is missing, or the store cannot be used or does not want the experiment."""
        if "@" in uri.partition("://")[2].partition("/")[0]:
            raise BadRequest(
                "record.mlflow: what is asked is kept in the run folder, so user and password go into "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        self._failed = self._left_out = 0
        self._problems: list[str] = []
        try:
            from mlflow import MlflowClient  # noqa: PLC0415 - it takes seconds, and only this needs it
        except ImportError as error:
            raise BadRequest("record.mlflow needs mlflow: pip install 'sweep[mlflow]'") from error
        try:
            with _patience():
                self._client: Any = MlflowClient(tracking_uri=uri)
                found = self._client.get_experiment_by_name(experiment)
                self._experiment = found.experiment_id if found else self._client.create_experiment(experiment)
        except Exception as error:  # MLflow's stores raise what their libraries raise
            raise BadRequest(f"record.mlflow={uri}: {_said(error)}{_remedy(uri)}") from error
        if found and found.lifecycle_stage != "active":
            raise BadRequest(f"record.mlflow={uri}: the experiment {experiment!r} was deleted there: restore it")

    @property
    def problems(self) -> list[str]:
        """What to tell at the end: each thing that went wrong, and how many rows are not there."""
        missing = self._failed + self._left_out
        if not missing:
            return []
        return [*self._problems, f"MLflow lacks {missing} rows; results.jsonl has them"]

    def interrupted(self, rows: Sequence[Result]) -> None:
        """Count the rows of what did not run: they are not logged, and that is told."""
        self._left_out += len(rows)

    def ended(self, row: Result) -> None:
        """Log one row as one run of MLflow's: FINISHED if it is ok, else FAILED. Raises nothing of MLflow's."""
        if self._failed >= MOST_FAILURES:
            self._left_out += 1
            return
        try:
            with _patience():
                self._log(row, entry(row), ended=time.time())
        except Exception as error:
            self._failed += 1
            said = f"MLflow did not take a row: {_said(error)}"
            if said not in self._problems:
                self._problems.append(said)

    def _log(self, row: Result, what: Entry, *, ended: float) -> None:
        from mlflow.entities import Metric, Param, RunTag  # noqa: PLC0415

        ms = round(ended * 1000)
        took = (row.seconds.get("total") or 0.0) + (row.seconds.get("waited") or 0.0)
        run = self._client.create_run(self._experiment, start_time=ms - round(took * 1000), run_name=row.id)
        status = "FAILED"
        try:
            self._client.log_batch(
                run.info.run_id,
                metrics=[Metric(key, value, ms, 0) for key, value in what.metrics.items()],
                params=[Param(key, value) for key, value in what.params.items()],
                tags=[RunTag(key, value) for key, value in what.tags.items()],
            )
            status = "FINISHED" if row.status is Status.OK else "FAILED"
        finally:  # half a run must not seem to go on for ever
            self._client.set_terminated(run.info.run_id, status=status, end_time=ms)


@contextmanager
def _patience() -> Iterator[None]:
    """MLflow's own settings as in PATIENCE, where the user set none."""
    ours = PATIENCE.keys() - os.environ.keys()
    os.environ.update({name: PATIENCE[name] for name in ours})
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:1000] or type(error).__name__


def _remedy(uri: str) -> str:
    if uri.partition(":")[0].partition("+")[0] in {"sqlite", "mysql", "postgresql", "mssql"}:
        return "; databases need the whole of MLflow: pip install mlflow"
    return ""
