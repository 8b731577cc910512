"""YAML files read as models, with the line and column of every mistake."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from config.reading import ConfigError, read_text
from config.wording import own_path, plain_words
from config.yaml_places import Mistake, PlacedDocument, YamlError, dotted, read_placed

Read = TypeVar("Read", bound=BaseModel)

_NOISE = frozenset({"too_short", "missing"})


def read_document(path: Path) -> PlacedDocument:
    """The YAML document in that file. Raises ConfigError, also for keys it cannot have."""
    try:
        document = read_placed(read_text(path))
    except YamlError as error:
        raise ConfigError(f"{path}:{error.mistake}") from error
    if document.mistakes:
        raise _refusal(path, in_order(document.mistakes))
    return document


def read_as(model: type[Read], document: PlacedDocument, path: Path) -> Read:
    """The document of that file as a model. Raises ConfigError with every mistake and its place."""
    try:
        return model.model_validate(document.content)
    except ValidationError as error:
        raise _refusal(path, mistakes_in(document, error)) from error


def _refusal(path: Path, mistakes: Iterable[Mistake]) -> ConfigError:
    return ConfigError(f"{path}:{'; '.join(str(one) for one in mistakes)}")


def mistakes_in(document: PlacedDocument, error: ValidationError) -> tuple[Mistake, ...]:
    """All that is wrong with a document: its keys, and what pydantic found in its values."""
    return in_order([*document.mistakes, *_mistakes(error, document)])


def _mistakes(error: ValidationError, document: PlacedDocument) -> list[Mistake]:
    """Pydantic's errors where they stand; those of one field that may be of several types as one.

    A list or object whose only item is bad is also reported as too short or missing; that is left
    out.
    """
    found = [_located(item, document) for item in error.errors() if not _is_of_key(item)]
    deeper = {path[:length] for path, _, _ in found for length in range(len(path))}
    together: dict[tuple[str | int, ...], list[Mistake]] = {}
    for path, kind, mistake in found:
        if not (kind in _NOISE and path in deeper):
            together.setdefault(path, []).append(mistake)
    return [
        Mistake(of[0].place, of[0].path, " or ".join(dict.fromkeys(one.message for one in of)))
        for of in together.values()
    ]


def _is_of_key(item: Mapping[str, Any]) -> bool:
    """Whether it is of a key that is no text, which the document tells better."""
    at_key = tuple(item["loc"])[-1:] == ("[key]",)
    return item["type"] == "invalid_key" or (at_key and item["type"] == "string_type")


def _located(
    item: Mapping[str, Any], document: PlacedDocument
) -> tuple[tuple[str | int, ...], str, Mistake]:
    """Path, pydantic's kind, and the mistake."""
    kind, loc = str(item["type"]), tuple(item["loc"])
    named, message = own_path(plain_words(item))
    known = document.known((*loc, *(int(x) if x.isdigit() else x for x in named)))
    path = (*known, loc[-1]) if kind == "missing" else known
    at_key = kind == "extra_forbidden" or loc[-1:] == ("[key]",)
    place = document.place_of(known, key=at_key)
    return path, kind, Mistake(place, dotted(path), message)


def in_order(mistakes: Iterable[Mistake]) -> tuple[Mistake, ...]:
    """The mistakes as they stand in the file."""
    return tuple(sorted(mistakes, key=lambda one: (one.place.line, one.place.column)))
