"""What the C library does with memory that was freed."""

from __future__ import annotations

import ctypes
import gc

_LIBC = ctypes.CDLL(None)
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's `mallopt`. Source: https://man7.org/linux/man-pages/man3/mallopt.3.html"""
_KEPT_BYTES = 8 << 20
_LARGEST_BYTES = 4 << 20


def keep_buffers() -> None:
    """Keep some MiB of freed memory for the next body, rather than give it back after each.

    By itself glibc gives a body's buffers back, and the kernel has to find and clear every page of
    the next one's: at 400 KB that costs more than reading it. Another C library is left as it is.
    """
    mallopt = getattr(_LIBC, "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST_BYTES)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)


def release_unused() -> None:
    """Give back what starting took and left, where the C library can.

    Source: https://man7.org/linux/man-pages/man3/malloc_trim.3.html
    """
    gc.collect()
    trim = getattr(_LIBC, "malloc_trim", None)
    if trim is not None:
        trim(0)
