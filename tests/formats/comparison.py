"""Compares what `wh inspect --json --hash` says with what the library that wrote the checkpoint loads."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from harness.formats import Aspect

SHOWN = 6
"""Names shown of a long list."""

Json = Mapping[str, Any]


def differences(answer: Json, oracle: Json) -> dict[Aspect, list[str]]:
    """What differs, by aspect; an aspect that the oracle claims nothing about is absent."""
    found = {Aspect.IDENTIFY: [*identity(answer, oracle)]}
    if oracle["tensors"] is not None:
        listed = by_name(answer["tensors"])
        found[Aspect.TENSORS] = [
            *listed[1],
            *tensors(listed[0], oracle["tensors"], oracle["optional"]),
            *parameters(answer, oracle),
        ]
    if oracle["optimizer"] is not None:
        found[Aspect.OPTIMIZER] = [*optimizer(answer.get("optimizer"), oracle["optimizer"], oracle["optional"])]
    elif (answer.get("optimizer") or {}).get("tensors"):
        found[Aspect.OPTIMIZER] = ["there is no optimizer, but its state is listed"]
    if oracle["metadata"]:
        found[Aspect.METADATA] = [*metadata(answer, oracle["metadata"])]
    return found


def identity(answer: Json, oracle: Json) -> Iterator[str]:
    """Schema, format, family and class."""
    if answer["schema"] != "weighthouse.inspect/1":
        yield f"schema is `{answer['schema']}`"
    if oracle["format"] not in answer["formats"]:
        yield f"formats are {answer['formats']}, without `{oracle['format']}`"
    architecture = answer.get("architecture") or {}
    for key, wanted in {"family": oracle["family"], "class": oracle["class_"]}.items():
        if wanted is not None and architecture.get(key) != wanted:
            yield f"{key} is `{architecture.get(key)}`, not `{wanted}`"


def by_name(listed: Iterable[Json]) -> tuple[dict[str, Json], list[str]]:
    """Tensors by name, and names that are there twice."""
    found: dict[str, Json] = {}
    twice = []
    for entry in listed:
        if entry["name"] in found:
            twice.append(f"`{entry['name']}` is listed twice")
        found[entry["name"]] = entry
    return found, twice


def tensors(listed: Mapping[str, Json], wanted: Mapping[str, Json], optional: Iterable[str]) -> Iterator[str]:
    """Names, data types, shapes, sizes and digests."""
    yield from several("missing", [name for name in wanted if name not in listed and name not in optional])
    yield from several("unexpected", [name for name in listed if name not in wanted and name not in optional])
    wrong = []
    for name, one in wanted.items():
        if name in listed:
            pairs = [(key, listed[name].get(key), one[key]) for key in ("dtype", "shape", "bytes", "sha256")]
            wrong += [
                f"`{name}`: {key} is {is_}, not {was}" for key, is_, was in pairs if was is not None and is_ != was
            ]
    yield from wrong[:SHOWN]
    if len(wrong) > SHOWN:
        yield f"… and {len(wrong) - SHOWN} more such differences"


def several(what: str, names: list[str]) -> Iterator[str]:
    """A line for a list of names."""
    if names:
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        yield f"{len(names)} {what}: {', '.join(f'`{name}`' for name in names[:SHOWN])}{more}"


def parameters(answer: Json, oracle: Json) -> Iterator[str]:
    """How many elements the library counts."""
    total = (answer.get("parameters") or {}).get("total")
    if oracle["parameters"] is not None and total != oracle["parameters"]:
        yield f"{total} parameters, not {oracle['parameters']}"


def optimizer(answer: Json | None, wanted: Json, optional: Iterable[str]) -> Iterator[str]:
    """Kind, step and state."""
    if not answer:
        yield "no optimizer"
        return
    kind = answer.get("kind")
    if wanted["kind"] is not None and str(kind).lower() != wanted["kind"]:
        yield f"kind is `{kind}`, not `{wanted['kind']}`"
    if wanted["step"] is not None and answer.get("step") != wanted["step"]:
        yield f"step is {answer.get('step')}, not {wanted['step']}"
    listed, twice = by_name(answer.get("tensors", []))
    yield from twice
    # Counters may be listed as state, too.
    counters = [name for name in listed if name.rpartition(".")[2] == "step"]
    yield from tensors(listed, wanted["tensors"], [*optional, *counters])


def metadata(answer: Json, wanted: Json) -> Iterator[str]:
    """Facts, wherever they are said: among the metadata, or as the architecture's sizes and configuration."""
    said = [*leaves({key: answer.get(key) for key in ("metadata", "architecture")})]
    for key, value in wanted.items():
        found = [text for path, text in said if path == key or path.endswith(f".{key}")]
        if not any(same(text, value) for text in found):
            yield f"`{key}` is {found or 'not said'}, not {value!r}"


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Values of a tree with their paths."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from leaves(inner, f"{path}.{place}")
    else:
        yield path, value


def same(one: Any, other: Any) -> bool:
    """Whether two facts agree; numbers may be written as text."""
    if isinstance(one, bool) or isinstance(other, bool) or not isinstance(other, int | float):
        return str(one) == str(other)
    try:
        return float(one) == float(other) and int(float(one)) == int(float(other))
    except (TypeError, ValueError):
        return False
