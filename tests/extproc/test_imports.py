"""A worker stays small and starts fast: it imports nothing that serving requests does not take."""

import subprocess
import sys

CODE = """
import sys
from dragoman.config.load import load
import dragoman.extproc.__main__
load(None, {})
print(*sys.modules)
"""
OTHERS = (
    "click",
    "grpc",
    "redis",
    "structlog",
    "importlib.resources",
    "shutil",
    "tempfile",
    "email",
    "urllib.request",
)
OTHERS += ("dragoman.cli", "dragoman.envoyconf", "dragoman.simulator", "dragoman.supervisor")


def test_a_worker_imports_nothing_of_the_others():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert not [name for name in OTHERS if name in done.stdout.split()]
