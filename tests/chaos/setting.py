"""The policy, and the variants of it that are put into force while clients ask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dragoman.simulator import Simulator
from tests.envoy.gateway import METER_KEYS, digest, free_port, key_file, provider_entry

PROVIDERS = (
    "openai", "openai-b", "anthropic", "anthropic-b", "gemini", "responses", "cohere", "ollama",
    "bedrock",
)  # fmt: skip
PATHS = {
    "openai_chat": ("/v1/chat/completions", "/compatibility/v1/chat/completions"),
    "anthropic_messages": ("/v1/messages",),
    "gemini_generate": ("/v1beta/models/",),
    "openai_responses": ("/v1/responses",),
    "cohere_chat": ("/v2/chat",),
    "ollama_chat": ("/api/chat",),
    "bedrock_converse": ("/model/",),
}
"""What the path begins with that a provider of each dialect is asked by."""
DIALECTS = {
    "openai": {"openai_chat", "openai_responses"},
    "openai-b": {"openai_chat", "openai_responses"},
    "anthropic": {"anthropic_messages"},
    "anthropic-b": {"anthropic_messages"},
    "gemini": {"gemini_generate"},
    "responses": {"openai_responses"},
    "cohere": {"cohere_chat", "openai_chat"},
    "ollama": {"ollama_chat"},
    "bedrock": {"bedrock_converse"},
}
"""That each provider may be asked in."""


def dialect_of(path: str) -> str:
    """In which a provider was asked by `path`; empty: in none of these."""
    return next((name for name, starts in PATHS.items() if path.startswith(starts)), "")


WORKERS = 2
FEW = 150
"""Requests that the caller `few` may make in all."""
LANES = 3
"""Requests that the caller `lanes` may have running at once."""
_WATCHED = ["context_length", "content_filter", "empty", "invalid"]
MODELS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "ordered": (("openai", "anthropic", "gemini"), {}),
    "backed": (("anthropic", "openai-b", "cohere"), {}),
    "weighted": (("responses", "openai", "bedrock"), {"shared": True}),
    "cheapest": (("ollama", "gemini", "anthropic-b"), {"shared": True, "strategy": "cheapest"}),
    "sticky": (("cohere", "anthropic", "openai"), {"shared": True, "sticky": "conversation"}),
    "watched": (("openai", "anthropic", "bedrock"), {"fallback_on": _WATCHED}),
    "gone": (("nobody", "openai", "anthropic-b"), {}),
}
"""The first part of each public model's name: who is asked, and how."""
CALLERS = dict(zip(("one", "two", "few", "lanes", "open"), METER_KEYS.values(), strict=False))
"""Their keys, which must be in no log in the end."""
PRICE = {"input": 1, "output": 2}
"""Dollars a million tokens, of every model."""


def sections(simulator: Simulator, folder: Path) -> dict[str, Any]:
    """The policy that is in force at first; its top-level fields."""
    providers = {name: provider_entry(name, simulator, folder) for name in PROVIDERS}
    providers["nobody"] = {
        "kind": "openai",
        "url": f"http://127.0.0.1:{free_port()}",
        "key": {"file": str(key_file("openai", folder))},
    }
    return {
        "timeouts": {"connect_seconds": 1, "first_byte_seconds": 1.5, "idle_seconds": 1.5},
        "callers": {name: {"keys": [digest(key)]} for name, key in CALLERS.items()},
        "providers": providers,
        "models": {f"{name}/*": _model(*how) for name, how in MODELS.items()},
        "profiles": [{"provider": name, "model": "*", "prices": PRICE} for name in providers],
        "quotas": _quotas(),
        "pass_through": [],
    }


def _model(providers: tuple[str, ...], how: dict[str, Any]) -> dict[str, Any]:
    settings = {name: value for name, value in how.items() if name != "shared"}
    placed = {"priority": 0} if how.get("shared") else {}
    return {
        **settings,
        "targets": [{"provider": name, "model": "sim/echo", **placed} for name in providers],
    }


def _quotas() -> list[dict[str, Any]]:
    """Those of everybody never run out: they are there to be added up."""
    ample = {"window": "month", "callers": ["one", "two"]}
    lenient = {"window": "month", "callers": ["one", "two", "open"], "on_store_failure": "allow"}
    return [
        {"name": "calls", "unit": "requests", "limit": 10**7, **ample},
        {"name": "words", "unit": "tokens", "limit": 10**9, **ample, "per": ["caller", "model"]},
        {"name": "purse", "unit": "usd", "limit": 10**6, **lenient},
        {"name": "few", "unit": "requests", "limit": FEW, "window": "month", "callers": ["few"]},
        {"name": "lanes", "unit": "concurrency", "limit": LANES, "callers": ["lanes"]},
    ]


def variant(document: dict[str, Any], number: int) -> dict[str, Any]:
    """The policy in another form: 0 as it began, the others each with something of it changed."""
    changed = {**document}
    if number == 1:  # the order of the targets, of which Envoy knows nothing
        changed["models"] = {
            name: {**model, "targets": [*model["targets"][1:], model["targets"][0]]}
            for name, model in document["models"].items()
        }
    elif number == 2:  # a cluster: nobody is where two providers were
        url = document["providers"]["nobody"]["url"]
        away = {name: document["providers"][name] | {"url": url} for name in ("openai", "cohere")}
        changed["providers"] = {**document["providers"], **away}
    elif number == 3:  # Envoy's filters, and with them the listener
        rule = {"when": {"headers": {"x-tier": "gold"}}, "use": "backed/*"}
        model = document["models"]["ordered/*"]
        changed["models"] = {
            **document["models"],
            "ruled": {**model, "rules": [rule | {"use": "named"}]},
            "named": model,
        }
    elif number == 4:  # quotas, a caller and a cluster come and go
        more = {"name": "hourly", "unit": "tokens", "limit": 10**9, "window": "hour"}
        changed["quotas"] = [*document["quotas"], more]
        changed["callers"] = {**document["callers"], "new": {"keys": [digest("new")]}}
        changed["providers"] = {**document["providers"], "later": document["providers"]["openai"]}
    return changed


VARIANTS = 5
BROKEN = (
    "models: [",
    "",
    "no_such_setting: 1\n",
    "workers: 7\n",
    "models: {m: {targets: [{provider: nowhere, model: x}]}}\n",
    "\x00\xff",
)
"""Policies that must change nothing."""
