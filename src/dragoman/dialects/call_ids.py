"""Ids for tool calls of dialects that need none."""

from __future__ import annotations

from collections import deque


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
