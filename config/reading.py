"""Reading configuration files, and what is wrong with them in words."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from config.wording import plain_words
from domain.errors import FinalError


class ConfigError(FinalError):
    """A configuration file cannot be read; the message names file and field."""


def read_text(path: Path) -> str:
    """The file's text. Raises ConfigError when it is absent or no text."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error


def read_yaml(path: Path) -> Any:
    """The file's content. Raises ConfigError when it is absent or no YAML."""
    try:
        return yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" line {where.line + 1}" if where else ""
        raise ConfigError(f"{path}:{line} no YAML: {getattr(error, 'problem', error)}") from error


def mistakes(error: ValidationError) -> list[str]:
    """Every mistake pydantic found, as `path: message`."""
    return [
        f"{'.'.join(str(part) for part in one['loc']) or 'document'}: {plain_words(one)}"
        for one in error.errors()
    ]


def describe(error: ValidationError) -> str:
    """Every mistake pydantic found, in one line."""
    return "; ".join(mistakes(error))
