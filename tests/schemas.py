"""The schemas that results and comparisons are held to, read once.

That they are schemas themselves is tested once, in `test_measure_summary`: `jsonschema.validate` would find
it out anew each time, which takes thirty times as long as to validate a result.
"""

from __future__ import annotations

from typing import Final

import jsonschema

from netecho.rendering.schema import comparison_schema, result_schema

RESULT: Final = jsonschema.Draft202012Validator(result_schema())
COMPARISON: Final = jsonschema.Draft202012Validator(comparison_schema())
