"""The driver's side of `harness/drivers.py`; plain enough for every Python that a client needs."""

import json
import os
import sys
import traceback
from collections.abc import Callable

Operation = Callable[[], None]


class NotApplicable(Exception):
    """This client has no such operation."""


def serve(operations: dict[str, Operation]) -> None:
    """Answers operations until stdin ends; what the client prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        answers.write(json.dumps(carry_out(operations.get(line.strip()))) + "\n")


def carry_out(operation: Operation | None) -> dict[str, str]:
    """Runs one operation; any exception is a failure, and its trace the detail."""
    if operation is None:
        return {"outcome": "not applicable", "detail": "the client has no such operation"}
    try:
        operation()
    except NotApplicable as reason:
        return {"outcome": "not applicable", "detail": str(reason)}
    except BaseException:
        return {"outcome": "failed", "detail": traceback.format_exc(limit=-6)}
    return {"outcome": "passed"}


def named(*functions: Operation) -> dict[str, Operation]:
    """Operations by the name of their row: the function's name with spaces."""
    return {function.__name__.replace("_", " "): function for function in functions}
