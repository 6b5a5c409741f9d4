"""Logs every row to MLflow, as one of its runs, besides the run folder."""

import math
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sweep.errors import BadRequest
from sweep.report.columns import COLUMNS
from sweep.report.listener import Listener
from sweep.result import Result
from sweep.status import Status

EXPERIMENT = "sweep"
MOST_FAILURES = 3
"""After so many rows that could not be logged no more are tried, because each may take until a time-out."""

TIME_LIMITS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
"""MLflow's settings for how long a store may keep the sweep waiting; by default it is minutes."""

_PARAMS = ("model", "conversion", "device", "batch_size", "threads")
_TAGS = (
    *("id", "status", "reason", "message", "node", "hardware", "fingerprint", "engine.actual", "engine.precision"),
    *("quality", "speedup.decision", "environment"),
)
_MOST_IN_A_KEY, _MOST_IN_A_PARAM, _MOST_IN_A_TAG = 250, 6000, 5000
"""How many characters MLflow's stores take, those of 2.x too: mlflow.utils.validation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """The params, metrics and tags that are logged for one row."""

    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


def entry_of(row: Result) -> Entry:
    """The entry of a row.

    Params are the options of the cell. Metrics are all other columns of numbers, and of booleans as 0 and 1; a value
    that is missing or no finite number is left out.
    """
    values = {column.name: column.value(row) for column in COLUMNS}
    numbers = {column.name for column in COLUMNS if column.type != "string"} - {"schema", *_PARAMS}
    params = {name: values[name] for name in _PARAMS} | {
        f"overrides.{key}": row.overrides[key] for key in row.overrides
    }
    tags = {name: values[name] for name in _TAGS} | {"versions.torch": row.versions.get("torch")}
    return Entry(
        params=_texts(params, _MOST_IN_A_PARAM),
        metrics={
            name: float(value)
            for name, value in values.items()
            if name in numbers and value is not None and math.isfinite(value)
        },
        tags=_texts(tags, _MOST_IN_A_TAG),
    )


def _texts(values: Mapping[str, object], most: int) -> dict[str, str]:
    """The values that are set, as texts of at most `most` characters, under names that MLflow takes."""
    return {
        re.sub(r"[^A-Za-z0-9_. -]", "_", key)[:_MOST_IN_A_KEY]: str(value)[:most]
        for key, value in values.items()
        if value not in (None, "")
    }


class Tracker(Listener):
    """The listener that logs rows to an MLflow store; its problems do not end the sweep."""

    name = "MLflow"

    def __init__(self, uri: str, experiment: str = EXPERIMENT) -> None:
        """Raises BadRequest where mlflow is missing, or the store cannot be used or does not want the experiment."""
        if "@" in uri.partition("://")[2].partition("/")[0]:
            raise BadRequest(
                "record.mlflow: what is asked is kept in the run folder, so user and password go into "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        self._failed = self._interrupted = 0
        self._missing: set[str] = set()
        self._logged: dict[str, _Logged] = {}
        self._problems: list[str] = []
        try:
            from mlflow import MlflowClient  # noqa: PLC0415 - it takes seconds, and only this needs it
        except ImportError as error:
            raise BadRequest("record.mlflow needs mlflow: pip install 'sweep[mlflow]'") from error
        try:
            with _time_limits():
                self._client: Any = MlflowClient(tracking_uri=uri)
                existing = self._client.get_experiment_by_name(experiment)
                self._experiment = existing.experiment_id if existing else self._client.create_experiment(experiment)
        except Exception as error:  # MLflow's stores raise the errors of their libraries
            raise BadRequest(f"record.mlflow={uri}: {_message(error)}{_remedy(uri)}") from error
        if existing and existing.lifecycle_stage != "active":
            raise BadRequest(f"record.mlflow={uri}: the experiment {experiment!r} was deleted there: restore it")

    @property
    def problems(self) -> list[str]:
        """Each problem once, and how many rows MLflow does not have."""
        missing = len(self._missing) + self._interrupted
        if not missing:
            return []
        return [*self._problems, f"MLflow lacks {missing} rows; results.jsonl has them"]

    def interrupted(self, rows: Sequence[Result]) -> None:
        """Count the rows of cells that did not run: they are not logged."""
        self._interrupted += len(rows)

    def ended(self, row: Result) -> None:
        """Log one row as one run of MLflow's: FINISHED if it is ok, else FAILED. Raises no error of MLflow."""
        self._missing.add(row.id)
        if self._failed >= MOST_FAILURES:
            return
        try:
            with _time_limits():
                self._log(row, entry_of(row), ended=time.time())
            self._missing.discard(row.id)
        except Exception as error:
            self._failed += 1
            problem = f"MLflow did not take a row: {_message(error)}"
            if problem not in self._problems:
                self._problems.append(problem)

    def refined(self, row: Result) -> None:
        """Log the newer row of a cell into the run of MLflow's that it has. Raises no error of MLflow."""
        self.ended(row)

    def _log(self, row: Result, entry: Entry, *, ended: float) -> None:
        ms = round(ended * 1000)
        logged = self._logged.get(row.id)
        if logged is None:
            took = (row.seconds.get("total") or 0.0) + (row.seconds.get("waited") or 0.0)
            run = self._client.create_run(self._experiment, start_time=ms - round(took * 1000), run_name=row.id)
            logged = self._logged[row.id] = _Logged(run=run.info.run_id)
        status = "FAILED"
        try:
            self._log_entry(logged, entry, ms)
            status = "FINISHED" if row.status is Status.OK else "FAILED"
        finally:  # half a run must not seem to go on for ever
            self._client.set_terminated(logged.run, status=status, end_time=ms)

    def _log_entry(self, logged: "_Logged", entry: Entry, ms: int) -> None:
        """Log what a row says now. MLflow forgets no metric, so one that a row no longer has becomes NaN."""
        from mlflow.entities import Metric, Param, RunTag  # noqa: PLC0415

        gone = dict.fromkeys(logged.metrics - entry.metrics.keys(), math.nan)
        self._client.log_batch(
            logged.run,
            metrics=[Metric(key, value, ms, logged.step) for key, value in {**entry.metrics, **gone}.items()],
            params=[Param(key, value) for key, value in entry.params.items() if key not in logged.params],
            tags=[RunTag(key, value) for key, value in entry.tags.items()],
        )
        for key in logged.tags - entry.tags.keys():
            self._client.delete_tag(logged.run, key)
        logged.metrics |= entry.metrics.keys()
        logged.params |= entry.params.keys()
        logged.tags = set(entry.tags)
        logged.step += 1


@dataclass(kw_only=True, slots=True)
class _Logged:
    """The run of MLflow's that a cell has, and the keys that it holds; `step` is how often its row was logged."""

    run: str
    step: int = 0
    metrics: set[str] = field(default_factory=set)
    params: set[str] = field(default_factory=set)
    tags: set[str] = field(default_factory=set)


@contextmanager
def _time_limits() -> Iterator[None]:
    """Set TIME_LIMITS in the environment, where the user did not set them."""
    ours = TIME_LIMITS.keys() - os.environ.keys()
    os.environ.update({name: TIME_LIMITS[name] for name in ours})
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


def _message(error: Exception) -> str:
    return " ".join(str(error).split())[:1000] or type(error).__name__


def _remedy(uri: str) -> str:
    if uri.partition(":")[0].partition("+")[0] in {"sqlite", "mysql", "postgresql", "mssql"}:
        return "; databases need the whole of MLflow: pip install mlflow"
    return ""
