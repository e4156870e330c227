"""The validator process: reads requests as JSON lines on stdin, answers on what was stdout.

It imports Great Expectations before it reads the first request. Everything that libraries print
goes to stderr, so that the answer pipe carries answers only. It ends when stdin is closed; an
unexpected error ends it too, and the asking process reports the last lines of its stderr.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from typing import TextIO

MISSING: Final = 3
"""Exit code where Great Expectations can't be imported."""


def main() -> int:
    """Serve until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    # Its parser still imports sre_constants; nothing here depends on that.
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="sre_constants")
    try:
        importlib.import_module("great_expectations")
    except ImportError as error:
        _answer(answers, {"missing": error.name or str(error)})
        return MISSING
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    _answer(answers, {"ready": True})
    for line in sys.stdin:
        _answer(answers, _handle(json.loads(line)))
    return 0


def _answer(answers: TextIO, document: dict[str, Any]) -> None:
    answers.write(json.dumps(document) + "\n")
    answers.flush()


def _handle(request: dict[str, Any]) -> dict[str, Any]:
    great = importlib.import_module("pipelines.check.great")
    data_docs = importlib.import_module("pipelines.check.data_docs")
    runs = great.run_checkpoint(request["batch"], request["rows"])
    if request["docs"]:
        try:
            data_docs.write_run(
                Path(request["docs"]),
                request["organisation"],
                request["batch"],
                runs,
                at_ns=request["at_ns"],
                keep=request["keep"],
            )
        except OSError as error:
            return {"failed": f"Data Docs can't be written: {error}"}
    return {"results": [result for run in runs for result in run.results]}


if __name__ == "__main__":
    sys.exit(main())
