"""Rewrites the golden translations beside the golden requests: `python -m tests.goldens`.

The result is reviewed as a diff; the tests only compare.
"""

from __future__ import annotations

import json

from tests.properties.cases import FIXTURES, GOLDENS, TRANSLATED, peers, translate


def main() -> None:
    for source, name, body in GOLDENS.values():
        golden = FIXTURES / source / "requests" / f"{name}.translations.json"
        told = {
            target.name: translate(TRANSLATED[source], target, body) for target in peers(source)
        }
        golden.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
