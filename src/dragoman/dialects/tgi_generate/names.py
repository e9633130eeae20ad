"""Words of the dialect, and how they map on the intermediate representation."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from dragoman.ir import FinishReason, Json, Residue, Usage
from dragoman.wire.fields import as_list

NAME = "tgi_generate"


FINISH: dict[str, FinishReason] = {
    "eos_token": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "content_filter": "content_filter",
    "error": "error",
}
"""The last two are no words of TGI's: they are what other providers' answers become here."""
_FINISH_OUT: dict[FinishReason, str] = {
    "stop": "eos_token",
    "length": "length",
    "content_filter": "content_filter",
    "error": "error",
    "tool_call": "eos_token",
}


def finish_word(reason: FinishReason, stop_sequence: str | None, residue: Residue | None) -> str:
    """The provider's own word where it said one of this dialect's."""
    said: str | None = own(residue).get("finish_reason")
    return said or ("stop_sequence" if stop_sequence is not None else _FINISH_OUT[reason])


def own(residue: Residue | None) -> Json:
    """The residue's fields if they are this dialect's; else nothing, and nothing is reported."""
    return residue.fields if residue is not None and residue.dialect == NAME else {}


def is_own(residue: Residue | None) -> bool:
    """Whether the object came in this dialect."""
    return residue is not None and residue.dialect == NAME


def pack(word: str, value: Any) -> tuple[str, str]:
    """A form that carries `value`, bookkeeping that no other dialect has a use for."""
    return word, msgspec.json.encode(value).decode()


def packed(residue: Residue | None, word: str) -> Any:
    """What stands behind `word` in the form; None where nothing does."""
    if residue is None or residue.dialect != NAME or word not in residue.form:
        return None
    return msgspec.json.decode(residue.form[residue.form.index(word) + 1])


def json_object(found: Any) -> Json:
    """`found` if it is an object; else an empty one."""
    return cast("Json", found) if isinstance(found, dict) else {}


def decode_finish(word: Any) -> tuple[FinishReason, Residue | None]:
    """The reason, and the provider's own word where the reason alone would not give it back."""
    found = word if isinstance(word, str) else "eos_token"
    reason = FINISH.get(found, "stop")
    if _FINISH_OUT[reason] == found:
        return reason, None
    return reason, Residue(dialect=NAME, fields={"finish_reason": found})


def decode_usage(details: Json) -> Usage | None:
    """The input is counted at the end of a stream, or by the tokens of the prompt if they are told;
    where neither is said it is 0, for unknown."""
    output, count = details.get("generated_tokens"), details.get("input_length")
    if not isinstance(output, int):
        return None
    asked = count if isinstance(count, int) else len(as_list(details.get("prefill")))
    return Usage(input_tokens=asked, output_tokens=output)


def decode_logprobs(tokens: list[Any], alternatives: list[Any]) -> Json | None:
    """Log probabilities, of answers that were asked for alternatives; None for any other."""
    if not any(as_list(one) for one in alternatives):
        return None
    content: list[Json] = []
    for i, token in enumerate(tokens):
        others = as_list(alternatives[i]) if i < len(alternatives) else []
        content.append({**_token(token), "top_logprobs": [_token(one) for one in others]})
    return {"content": content}


def _token(found: Any) -> Json:
    token = json_object(found)
    return {"token": str(token.get("text", "")), "logprob": token.get("logprob"), "bytes": None}


def encode_tokens(logprobs: Json | None) -> tuple[list[Json], list[list[Json]]]:
    """Tokens and, for each, its alternatives. Nobody else tells the tokens' numbers."""
    items = [json_object(item) for item in as_list((logprobs or {}).get("content"))]
    others = [as_list(item.get("top_logprobs")) for item in items]
    return (
        [encode_token(str(item.get("token", "")), item.get("logprob")) for item in items],
        [
            [encode_token(str(one.get("token", "")), one.get("logprob")) for one in o]
            for o in others
        ],
    )


def encode_token(text: str, logprob: Any = None, *, special: bool = False) -> Json:
    """One token. Only TGI itself knows its number."""
    return {"id": 0, "text": text, "logprob": logprob, "special": special}
