"""The key that the workers of one sidecar share."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dragoman.stores.shared_key import KEY_BYTES, shared_key


def test_all_get_the_same_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(shared_key, [str(tmp_path)] * 32))
    (key,) = keys
    assert len(key) == KEY_BYTES
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert shared_key(str(tmp_path)) == key
