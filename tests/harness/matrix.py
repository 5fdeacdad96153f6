"""The table of clients and operations in the documentation."""

from collections.abc import Mapping

from harness.drivers import Cell, Outcome

SIGNS = {Outcome.PASSED: "passed", Outcome.FAILED: "**failed**", Outcome.NOT_APPLICABLE: "–"}

HEAD = """# Clients

Written by `cargo xtask test --write-matrix`; each cell is the outcome of that operation in that run, by the
unmodified client, with nothing set but `HF_ENDPOINT` and a token. A dash: the client has no such operation.

"""


def render(cells: Mapping[tuple[str, str], Cell]) -> str:
    """Operations down, clients across, in the order in which they ran."""
    clients = list(dict.fromkeys(client for client, _ in cells))
    operations = list(dict.fromkeys(operation for _, operation in cells))
    rows = [["", *clients], ["---"] * (len(clients) + 1)]
    rows += [[operation, *(sign(cells.get((client, operation))) for client in clients)] for operation in operations]
    return HEAD + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def sign(cell: Cell | None) -> str:
    """A cell in words; an operation that a client was never asked for is not applicable."""
    return SIGNS[cell.outcome if cell else Outcome.NOT_APPLICABLE]
