"""Large buffers cost no page faults once the first few were there."""

import subprocess
import sys

import pytest

ROUNDS = 100
SCRIPT = f"""
import platform, resource, sys
from dragoman.config.allocator import keep_buffers

def work():
    bodies = [bytearray(400_000) for _ in range(5)]
    return b"".join(bodies)

if sys.argv[1] == "keep":
    keep_buffers()
for _ in range(10):
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({ROUNDS}):
    work()
after = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(platform.libc_ver()[0], after - before)
"""


def faults(how):
    done = subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, check=True)
    library, count = done.stdout.split()
    if library != b"glibc":
        pytest.skip("only glibc has the setting")
    return int(count)


def test_buffers_are_used_again():
    assert faults("leave") > 100 * ROUNDS
    assert faults("keep") < ROUNDS
