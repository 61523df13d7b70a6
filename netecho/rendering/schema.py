"""The JSON Schemas of `netecho.result/1` and `netecho.comparison/1`, which ship in the package."""

from __future__ import annotations

import importlib.resources
import json
from typing import Any, Final

FILE_NAME: Final = "result.schema.json"
COMPARISON_FILE_NAME: Final = "comparison.schema.json"


def result_schema() -> dict[str, Any]:
    """Return the schema that every result satisfies (JSON Schema 2020-12)."""
    return _read(FILE_NAME)


def comparison_schema() -> dict[str, Any]:
    """Return the schema that every comparison satisfies (JSON Schema 2020-12)."""
    return _read(COMPARISON_FILE_NAME)


def _read(name: str) -> dict[str, Any]:
    text = importlib.resources.files(__package__).joinpath(name).read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema
