"""Stock rules from a YAML or JSON file."""

from pathlib import Path

from pydantic import ValidationError

from config.reading import ConfigError, describe, read_yaml
from domain.stock_rules import StockRules


def load_stock_rules(path: Path) -> StockRules:
    """The rules in that file. Raises ConfigError naming file and field."""
    document = read_yaml(path)
    try:
        return StockRules.model_validate(document)
    except ValidationError as error:
        raise ConfigError(f"{path}: {describe(error)}") from error
