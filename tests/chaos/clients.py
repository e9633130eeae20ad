"""Who asks all the while, and what each got."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from itertools import count

import httpx
import msgspec

from dragoman.ir import Usage
from tests.chaos.apis import APIS, Api, name_answer
from tests.chaos.setting import CALLERS, MODELS

CLIENTS = 24
_PAUSE_SECONDS = 0.12
"""Between two requests of one client, on the average."""
_ANSWER_SECONDS = 30.0
"""No answer here takes as long, whatever goes wrong: the sum of a request's time-outs is less."""
_HANGS_UP = 0.03
_WEIGHTS = {"one": 8, "two": 8, "few": 1, "lanes": 3, "open": 3}


class Asked(msgspec.Struct, kw_only=True):
    """One request and what came of it."""

    id: str
    """Part of its text, and of no other's."""
    api: Api
    stream: bool
    kind: str
    """Of `MODELS`."""
    slot: str
    """The public model's name: of one client and kind."""
    caller: str
    text: str
    hangs_up: bool = False
    began: float = 0.0
    """Unix seconds, as `ended`."""
    ended: float = 0.0
    status: int = 0
    told_id: str = ""
    """By which the ledger knows it."""
    outcome: str = "pending"
    """As `name_answer`; or `cut`, by HTTP itself; `hung up`, by the client; `no answer`, `no end`."""
    told: str = ""
    """The answer's text, or what is wrong with it."""
    raw: bytes = b""
    """Unless it is whole."""
    usage: Usage | None = None


class Clients:
    """Many clients at once, each at one request at a time."""

    def __init__(self, url: str, seed: int) -> None:
        self._url = url
        self._seed = seed
        self._numbers = count(1)
        self.all: list[Asked] = []

    async def ask_for(self, seconds: float) -> None:
        """Ask all the while; returns once everybody has an answer."""
        ends = time.monotonic() + seconds
        await asyncio.gather(*(self._client(number, ends) for number in range(CLIENTS)))

    async def ask_once(self) -> None:
        """Each kind of model in each dialect, streamed and not, one after the other."""
        async with httpx.AsyncClient(base_url=self._url, timeout=_ANSWER_SECONDS) as client:
            for asked in self._each():
                await self._ask(client, asked)

    def _each(self) -> Iterator[Asked]:
        for api in APIS:
            for kind in MODELS:
                for stream in (False, True):
                    text = f"{self._id()} once again"
                    yield Asked(
                        id=text.split()[0],
                        api=api,
                        stream=stream,
                        kind=kind,
                        slot=f"{kind}/calm",
                        caller="one",
                        text=text,
                    )

    def _id(self) -> str:
        return f"r{next(self._numbers):06}q"

    async def _client(self, number: int, ends: float) -> None:
        chance = random.Random(f"{self._seed}-{number}")
        async with httpx.AsyncClient(base_url=self._url, timeout=_ANSWER_SECONDS) as client:
            while time.monotonic() < ends:
                await self._ask(client, self._draw(chance, number))
                await asyncio.sleep(chance.uniform(0, 2 * _PAUSE_SECONDS))

    def _draw(self, chance: random.Random, number: int) -> Asked:
        name, kind = self._id(), chance.choice(list(MODELS))
        caller = chance.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
        words = " ".join(f"w{n}" for n in range(chance.choice((3, 3, 8, 40))))
        return Asked(
            id=name,
            api=chance.choice(APIS),
            stream=chance.random() < 0.5,
            kind=kind,
            slot=f"{kind}/c{number}",
            caller=caller,
            text=f"{name} {words}",
            hangs_up=chance.random() < _HANGS_UP,
        )

    async def _ask(self, client: httpx.AsyncClient, asked: Asked) -> None:
        self.all.append(asked)
        asked.began = time.time()
        try:
            await self._exchange(client, asked)
        except httpx.TimeoutException as error:
            asked.outcome, asked.told = "no end", repr(error)
        except httpx.TransportError as error:
            asked.outcome = "cut" if asked.status else "no answer"
            asked.told = repr(error)
        asked.ended = time.time()

    async def _exchange(self, client: httpx.AsyncClient, asked: Asked) -> None:
        path, content = asked.api.request(asked.slot, asked.text, stream=asked.stream)
        headers = {"x-api-key": CALLERS[asked.caller], "content-type": "application/json"}
        async with client.stream("POST", path, content=content, headers=headers) as answer:
            asked.status = answer.status_code
            asked.told_id = answer.headers.get("x-dragoman-request-id", "")
            async for piece in answer.aiter_raw():
                asked.raw += piece
                if asked.hangs_up:
                    asked.outcome = "hung up"
                    return
        stream = asked.stream
        named = name_answer(asked.api, asked.status, asked.raw, stream=stream)
        asked.outcome, asked.told, response = named
        if response is not None:
            asked.usage, asked.raw = response.usage, b""
