"""Stream machines that show what a transport does with them."""

import asyncio

from dragoman.extproc import health

METHOD, MUTE = "/test.Echo/Run", "/test.Echo/Mute"


class Echo:
    """Answers each message with itself; ends on `end`; breaks on `bug`."""

    def __init__(self):
        self.finished = False

    def feed(self, message, *, more=False):
        if message == b"bug":
            raise ValueError("the prompt was: secret")
        self.finished = message == b"end"
        return [bytes(message)]

    def close(self):
        return [b"closed"]

    def fail(self):
        return [b"failed"]


class Mute(Echo):
    """Has nothing to say of its bugs."""

    def fail(self):
        return []


class Counted(Echo):
    """Counts how often one was closed, and says nothing then."""

    METHOD = "/test.Echo/Counted"
    closed = 0

    def close(self):
        type(self).closed += 1
        return []


class Joining(Echo):
    """Joins messages that are there together."""

    METHOD = "/test.Echo/Joining"

    def __init__(self):
        super().__init__()
        self.held = b""

    def feed(self, message, *, more=False):
        self.held += message
        if more:
            return []
        held, self.held = self.held, b""
        return [held]


class Later(Echo):
    """Answers when something else has: itself a turn of the loop later; breaks late on `bug`."""

    METHOD = "/test.Echo/Later"
    begun = 0
    cancelled = 0

    def feed(self, message, *, more=False):
        self.finished = message == b"end"
        return self._answer(bytes(message))

    async def _answer(self, message):
        type(self).begun += 1
        try:
            if message == b"never":
                await asyncio.get_running_loop().create_future()
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            type(self).cancelled += 1
            raise
        if message == b"bug":
            raise ValueError("the prompt was: secret")
        return [message]


STREAMS = {
    METHOD: Echo,
    MUTE: Mute,
    Counted.METHOD: Counted,
    Joining.METHOD: Joining,
    Later.METHOD: Later,
    health.METHOD: health.HealthStream,
}
