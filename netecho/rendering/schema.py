"""The JSON Schema of `netecho.result/1`, which ships in the package."""

from __future__ import annotations

import importlib.resources
import json
from typing import Any, Final

FILE_NAME: Final = "result.schema.json"


def result_schema() -> dict[str, Any]:
    """Return the schema that every result satisfies (JSON Schema 2020-12)."""
    text = importlib.resources.files(__package__).joinpath(FILE_NAME).read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema
