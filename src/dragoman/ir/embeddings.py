"""What an embeddings request and its answer mean, whatever the wire format.

One `Input` gives one vector. Vectors stay as they came, JSON text or base64: nobody here reads
their numbers unless the other side wants them written the other way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from dragoman.errors import UpstreamProtocolError
from dragoman.ir import Blob, Node, Opaque, Residue, Text, Uri, Usage

Dtype = Literal["float", "int8", "uint8", "binary", "ubinary"]
"""What a vector's numbers are; the last two pack eight dimensions into one number."""
Purpose = Literal[
    "query",
    "document",
    "classification",
    "clustering",
    "similarity",
    "question_answering",
    "fact_verification",
    "code_query",
]
NEAREST: dict[Purpose, Purpose] = {
    "question_answering": "query",
    "fact_verification": "query",
    "code_query": "query",
}
"""What to ask for, and to report, where a dialect has no word for a purpose of its own."""
Truncate = Literal["none", "start", "end"]
"""Which end of an input that is too long is cut off; `none`: it is refused."""


class Tokens(Node, frozen=True, kw_only=True):
    """A text as token ids, which mean something to one tokenizer only."""

    ids: tuple[int, ...]


class Input(Node, frozen=True, kw_only=True):
    """What becomes one vector."""

    parts: tuple[Text | Tokens | Blob | Uri | Opaque, ...]
    title: str | None = None
    """Of a document, where the dialect has one."""


class Format(msgspec.Struct, frozen=True, kw_only=True):
    """One way in which the client wants its vectors written."""

    dtype: Dtype = "float"
    base64: bool = False
    """As base64 of little-endian numbers (floats of 32 bits) rather than a JSON array."""
    at: str = ""
    """JSON path in the client's body."""


FLOATS = Format()


class EmbeddingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One embeddings request. None always means "the client did not say"."""

    model: str
    inputs: tuple[Input, ...]
    purpose: Purpose | None = None
    dimensions: int | None = None
    formats: tuple[Format, ...] = ()
    """Empty: floats, as every dialect has them."""
    truncate: Truncate | None = None
    normalize: bool | None = None
    user: str | None = None
    mixed_at: str = ""
    """JSON path where one input asks for something else than the first does; empty: nowhere."""
    paths: Mapping[str, str] = {}
    """Where a field above stands in the client's body, by its name here."""
    residue: Residue | None = None

    def path(self, field: str) -> str:
        """The JSON path of `field` in the client's body."""
        return self.paths.get(field, f"$.{field}")

    def complete(self, response: EmbeddingResponse) -> EmbeddingResponse:
        """`response` with what only the question tells: the model, and how to write vectors."""
        if len(response.embeddings) != len(self.inputs):
            given, asked = len(response.embeddings), len(self.inputs)
            raise UpstreamProtocolError(f"the upstream sent {given} embeddings for {asked} inputs")
        return msgspec.structs.replace(
            response, model=response.model or self.model, formats=self.formats or (FLOATS,)
        )


class Vector(msgspec.Struct, frozen=True, kw_only=True):
    """One vector as it came: JSON text of an array of numbers, or base64."""

    dtype: Dtype | None = None
    """None: what was asked for, the dialect does not say."""
    data: msgspec.Raw | str

    @property
    def is_base64(self) -> bool:
        return isinstance(self.data, str)


class Embedding(Node, frozen=True, kw_only=True):
    """What became of one input: a vector in each of the formats the provider was asked for."""

    vectors: tuple[Vector, ...]


class EmbeddingResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer, its embeddings in the order of the inputs."""

    embeddings: tuple[Embedding, ...]
    id: str | None = None
    model: str = ""
    usage: Usage | None = None
    formats: tuple[Format, ...] = ()
    """How the client wants them; empty: as they came."""
    residue: Residue | None = None
