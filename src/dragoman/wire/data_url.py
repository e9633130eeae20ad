"""`data:` URLs that hold base64."""

from __future__ import annotations


def read_data_url(url: str) -> tuple[str, str] | None:
    """Media type and base64 text of a `data:` URL, such that putting them together restores it."""
    if not url.startswith("data:"):
        return None
    head, comma, content = url.partition(",")
    mime = head.removeprefix("data:").removesuffix(";base64")
    if not comma or not mime or not head.endswith(";base64"):
        return None
    return mime, content


def write_data_url(mime: str, content: str) -> str:
    """The URL that `read_data_url` reads."""
    return f"data:{mime};base64,{content}"
