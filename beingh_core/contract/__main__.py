"""`python -m beingh_core.contract` writes what is generated from the keys: docs/contract.md, config/robot.schema.json."""

from __future__ import annotations

import json
from pathlib import Path

from beingh_core.contract.editor_schema import editor_schema
from beingh_core.contract.reference import reference


def generated() -> dict[str, str]:
    """Path below the source tree -> content."""
    return {
        "docs/contract.md": reference(),
        "config/robot.schema.json": json.dumps(editor_schema(), indent=1) + "\n",
    }


def main() -> None:
    """Writes the files into the source tree."""
    root = Path(__file__).resolve().parents[2]
    for path, content in generated().items():
        (root / path).write_text(content)
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
