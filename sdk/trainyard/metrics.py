"""What a run logs: numbers, lists, rows, tables, images, and how far it is."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

from trainyard.contract import ENV_OUTPUTS, MAX_DESCRIPTION_CHARS, OUTPUTS, encode_metric, metric_name
from trainyard.values import described, finite, items_of, number_of, text_of, whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from trainyard.sinks import Sink

# A name is cleaned once; scripts use few, and one that makes up names without end must not fill the memory with them.
_MAX_REMEMBERED_NAMES = 4096
# Longer lists and tables become several lines: the runner reads none that is longer than 1 MiB.
_VALUES_A_LINE = 1000
_MAX_TEXT_CHARS = 256


class MetricLog:
    """The calls of a `Run` that log something, and the one that gives it back."""

    def __init__(self, *, sink: Sink) -> None:
        self._names: dict[str, str] = {}
        self._sink = sink
        self._write = sink.write

    def log(self, name: str, value: Any, description: str = "", step: int | None = None) -> None:
        """Record `value` as the latest of the metric `name`.

        Parameters
        ----------
        name
            Any text; names longer than 256 bytes are cut.
        value
            A number: int, float, bool, a numpy scalar or whatever else holds exactly one number. NaN and infinities
            are kept.
        description
            What the number means; it is kept in the history of the run.
        step
            Which step or epoch the value belongs to; it is kept in the history of the run.

        Raises
        ------
        TypeError
            If `name` or `description` is not text, `value` is not one number or `step` is not a whole number.
        """
        clean = self._names.get(name) if isinstance(name, str) else None
        if clean is None:
            clean = self._clean(name)
        number = number_of(value, what=f"metric {name!r}")
        entry: dict[str, Any] = {"metric": clean, "value": encode_metric(number), "time": time.time()}
        if step is not None:
            entry["step"] = whole(step, what=f"the step of metric {name!r}")
        if description:
            entry["description"] = _description(description, what=f"metric {name!r}")
        self._write(entry)

    def log_list(self, name: str, value: Any, description: str = "") -> None:
        """Record a list of numbers: a list, an array of one dimension, or whatever else can be gone through.

        Parameters
        ----------
        name
            Its name, at most 256 bytes.
        value
            The numbers.
        description
            What it means; it is kept in the history of the run.

        Raises
        ------
        TypeError
            If `value` is no list, or holds something that is not one number.
        """
        clean, what = self._clean(name), f"list {name!r}"
        numbers = [encode_metric(number_of(item, what=what)) for item in items_of(value, what=what)]
        for start in range(0, len(numbers) or 1, _VALUES_A_LINE):
            self._tell("list", clean, description, values=numbers[start : start + _VALUES_A_LINE])

    def log_row(self, name: str, description: str | None = None, **kwargs: Any) -> None:
        """Record one row of a table: each keyword is a column, with a number or a text; later calls add rows.

        Parameters
        ----------
        name
            The name of the table.
        description
            What it means; it is kept in the history of the run.

        Raises
        ------
        TypeError
            If there is no column, or one is neither a number nor a text.
        """
        if not kwargs:
            raise TypeError(f"row {name!r} has no columns: give them as keywords, such as epoch=1, loss=0.5")
        values = {metric_name(column): _cell(value, name, column) for column, value in kwargs.items()}
        self._tell("row", self._clean(name), description or "", values=values)

    def log_table(self, name: str, value: Mapping[str, Any], description: str = "") -> None:
        """Record a table: a dictionary of columns, each a list of the same length.

        Parameters
        ----------
        name
            The name of the table.
        value
            The columns by name.
        description
            What it means; it is kept in the history of the run.

        Raises
        ------
        TypeError
            If `value` is no dictionary of lists of numbers and texts.
        ValueError
            If the lists differ in length.
        """
        if not hasattr(value, "items") or not value:
            raise TypeError(f"table {name!r} is {described(value)}: give a dictionary of lists")
        columns = {
            metric_name(column): [_cell(item, name, column) for item in items_of(items, what=f"column {column!r}")]
            for column, items in value.items()
        }
        lengths = {len(items) for items in columns.values()}
        if len(lengths) > 1:
            raise ValueError(f"the columns of table {name!r} have different lengths: make them equally long")
        clean, rows = self._clean(name), lengths.pop()
        at_once = max(1, _VALUES_A_LINE // len(columns))
        for start in range(0, rows or 1, at_once):
            part = {column: items[start : start + at_once] for column, items in columns.items()}
            self._tell("table", clean, description, columns=part)

    def log_image(self, name: str, path: str | None = None, plot: Any = None, description: str = "") -> None:
        """Keep an image in ``outputs/images``: the file at `path`, or a plot of matplotlib, as PNG.

        Parameters
        ----------
        name
            The name of the image, and of its file.
        path
            The file.
        plot
            What has a ``savefig``, as a figure or ``matplotlib.pyplot`` itself.
        description
            What it means; it is kept in the history of the run.

        Raises
        ------
        TypeError
            If not exactly one of `path` and `plot` is given, or `plot` cannot be saved.
        """
        from trainyard.artifacts import place_image  # noqa: PLC0415 - most scripts import it never

        clean = self._clean(name)
        self._tell("file", clean, description, path=place_image(self._outputs(), name, path=path, plot=plot))

    def log_confusion_matrix(self, name: str, value: Any, description: str = "") -> None:
        """Keep a confusion matrix in ``outputs/documents``: a dictionary, or its JSON, as Azure ML describes it.

        Parameters
        ----------
        name
            Its name, and that of its file.
        value
            The dictionary or its JSON.
        description
            What it means; it is kept in the history of the run.
        """
        self._document(name, value, description)

    def log_accuracy_table(self, name: str, value: Any, description: str = "") -> None:
        """Keep an accuracy table in ``outputs/documents``: a dictionary, or its JSON, as Azure ML describes it.

        Parameters
        ----------
        name
            Its name, and that of its file.
        value
            The dictionary or its JSON.
        description
            What it means; it is kept in the history of the run.
        """
        self._document(name, value, description)

    def progress(self, percent: float, message: str | None = None, eta_seconds: float | None = None) -> None:
        """Tell how far the run is.

        Parameters
        ----------
        percent
            From 0 to 100; what lies outside is moved to the nearer end.
        message
            One short sentence, such as ``epoch 3 of 10``.
        eta_seconds
            How many seconds the rest will take.

        Raises
        ------
        TypeError
            If `percent` or `eta_seconds` is not a finite number, or `message` is not text.
        """
        told: dict[str, Any] = {"percent": min(100.0, max(0.0, finite(percent, what="percent")))}
        if eta_seconds is not None:
            told["etaSeconds"] = max(0.0, finite(eta_seconds, what="eta_seconds"))
        if message is not None:
            told["message"] = text_of(message, what="message", example="epoch 3 of 10")
        self._write({"progress": told, "time": time.time()})

    def get_metrics(self, name: str | None = None) -> dict[str, Any]:
        """Return what all processes of the run have logged, or what they logged under `name`.

        One value is a value, repeated ones are a list, rows and tables are dictionaries of columns, images and
        documents are the path of their file. An offline run remembers its last 100,000 calls.

        Parameters
        ----------
        name
            The one metric that is wanted; all of them where it is None.
        """
        from trainyard.history import metrics_of  # noqa: PLC0415

        found = metrics_of(self._sink.entries())
        return found if name is None else {key: value for key, value in found.items() if key == metric_name(name)}

    def _outputs(self) -> Path:
        from pathlib import Path  # noqa: PLC0415 - costs a script its start

        return Path(os.environ.get(ENV_OUTPUTS) or OUTPUTS)

    def _document(self, name: str, value: Any, description: str) -> None:
        from trainyard.artifacts import DOCUMENTS, new_file  # noqa: PLC0415

        clean = self._clean(name)
        content = json.dumps(json.loads(value) if isinstance(value, str) else value)
        path, target = new_file(self._outputs(), DOCUMENTS, name, ".json")
        target.write_text(content + "\n")
        self._tell("file", clean, description, path=path)

    def _tell(self, kind: str, name: str, description: str, **more: Any) -> None:
        entry = {kind: name, **more, "time": time.time()}
        if description:
            entry["description"] = _description(description, what=f"{kind} {name!r}")
        self._write(entry)

    def _clean(self, name: object) -> str:
        clean = metric_name(text_of(name, what="the name of a metric", example="accuracy"))
        if len(self._names) < _MAX_REMEMBERED_NAMES:
            self._names[str(name)] = clean
        return clean


def _cell(value: Any, name: str, column: Any) -> Any:
    if isinstance(value, str):
        return str(value)[:_MAX_TEXT_CHARS]
    return encode_metric(number_of(value, what=f"column {column!r} of {name!r}"))


def _description(description: Any, *, what: str) -> str:
    words = text_of(description, what=f"the description of {what}", example="share of right answers")
    return words[:MAX_DESCRIPTION_CHARS]
