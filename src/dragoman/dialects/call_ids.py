"""Ids for tool calls of dialects that need none, and for those that came without."""

from __future__ import annotations

from collections import deque
from typing import Any, cast

from dragoman.errors import UpstreamProtocolError
from dragoman.ir import Json
from dragoman.ir.events import PartStart


class CallIds:
    """Ids by the place of a call, the same in every later turn; answers find theirs by the name.

    A look-up costs the same however many calls wait.
    """

    def __init__(self, prefix: str = "call") -> None:
        self._prefix = prefix
        self._count = 0
        self._waiting: dict[str, str] = {}
        """The name of each call that has no answer yet, by its id."""
        self._in_order: dict[str | None, deque[str]] = {None: deque()}
        """Ids by name, and all of them; those that were answered by their id are passed over."""

    def of_call(self, given: str | None, name: str) -> str:
        """The id of the next call."""
        ident = given or f"{self._prefix}_{self._count}"
        self._count += 1
        self._waiting[ident] = name
        self._in_order.setdefault(name, deque()).append(ident)
        self._in_order[None].append(ident)
        return ident

    def of_answer(self, given: str | None, name: str | None) -> tuple[str, str | None]:
        """The id of the call an answer is to, and that call's name; None where none waits for it.

        It is the one of that id, else the first of that name, else the first of all.
        """
        if given:
            return given, self._waiting.pop(given, None)
        queue = self._in_order.get(name) or deque()
        while queue:
            ident = queue.popleft()
            if (known := self._waiting.pop(ident, None)) is not None:
                return ident, known
        return f"{self._prefix}_{name or 'unknown'}", None


def answer_ids(response_id: object) -> CallIds:
    """For the calls of one answer: the same whether it is streamed or not."""
    return CallIds(f"call_{response_id}" if response_id else "call")


def fill_id(ids: CallIds, call: Any, field: str) -> Any:
    """A call of a whole answer, with an id in `field` where it came without."""
    if not isinstance(call, dict):
        return call
    given = cast("Json", call)
    made = ids.of_call(None, "")
    return given if given.get(field) else {**given, field: made}


def open_call(ids: CallIds, given: object, name: object) -> PartStart:
    """The start of a call in a stream, with an id where it came without.

    Raises `UpstreamProtocolError` where nothing tells what is called.
    """
    if not isinstance(name, str):
        raise UpstreamProtocolError("the upstream sent a tool call without a name")
    made = ids.of_call(None, "")
    return PartStart(kind="tool_call", id=str(given) if given else made, name=name)
