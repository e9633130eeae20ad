"""Rewrites the golden translations beside the golden requests: `python -m tests.goldens`.

The result is reviewed as a diff; the tests only compare.
"""

from __future__ import annotations

import json

from tests.properties.cases import FIXTURES, TRANSLATIONS, translate


def main() -> None:
    for source, target, name, body in TRANSLATIONS.values():
        golden = FIXTURES / source.name / "requests" / f"{name}.to_{target.name}.json"
        told = translate(source, target, body)
        golden.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
