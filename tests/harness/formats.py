"""The tables of formats and of families in the documentation."""

from collections import defaultdict
from collections.abc import Iterable
from enum import StrEnum

HEAD = """# Formats

Written by `cargo xtask test --write-matrix`. Each checkpoint behind these numbers was written by the real library in
that run, and what `wh inspect --json --hash` says of it was compared with what the library itself loads: every name,
data type, shape and digest. `3 of 3` are the checkpoints of that row that agree; a dash: none of them has such a
part.

"""


class Aspect(StrEnum):
    """A column."""

    IDENTIFY = "identify"
    TENSORS = "tensors"
    OPTIMIZER = "optimizer"
    METADATA = "metadata"


class Cells:
    """Outcomes by row and column."""

    def __init__(self) -> None:
        self.formats: dict[str, dict[Aspect, list[bool]]] = {}
        self.families: dict[str, dict[Aspect, list[bool]]] = {}

    def __bool__(self) -> bool:
        return bool(self.formats)

    def note(self, title: str, family: str | None, aspect: Aspect, passed: bool) -> None:
        """Counts one comparison."""
        for table, row in ((self.formats, title), (self.families, family)):
            if row is not None:
                table.setdefault(row, defaultdict(list))[aspect].append(passed)


def render(cells: Cells) -> str:
    """Both tables."""
    formats = table("format", cells.formats.items())
    return HEAD + formats + "\n## Families\n\n" + table("family", cells.families.items())


def table(head: str, rows: Iterable[tuple[str, dict[Aspect, list[bool]]]]) -> str:
    """One table, in the order in which its rows ran."""
    lines = [[head, *Aspect], ["---"] * (len(Aspect) + 1)]
    lines += [[row, *(sign(found.get(aspect, [])) for aspect in Aspect)] for row, found in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def sign(outcomes: list[bool]) -> str:
    """How many agree."""
    if not outcomes:
        return "–"
    text = f"{sum(outcomes)} of {len(outcomes)}"
    return text if all(outcomes) else f"**{text}**"
