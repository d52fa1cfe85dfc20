"""What the tests of `bitline place` share: how it is asked, and of which arrays."""

from __future__ import annotations

import json
from typing import Any

from tests.cli.invoke import Answer, bitline

SMALL = "--target sram-dcim --set array.rows=64 --set array.cols=64 --set array.group_rows=64"


def asked(words: str, status: int = 0) -> dict[str, Any]:
    answer = bitline(f"place {words} --json")
    assert answer.status == status, answer.err
    said: dict[str, Any] = json.loads(answer.out)
    return said


def verified(file: str) -> Answer:
    return bitline(f"verify {file}")
