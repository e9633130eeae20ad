"""Models that others lead to: a request is under the profiles of the model it asks for, whoever
serves. So a file in which one that may serve is under another is refused: nobody would see that it
does not apply."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dragoman.config.redaction import OFF
from dragoman.config.schema import File, ModelEntry
from dragoman.errors import ConfigError


def check_profiles(file: File, refuse: Callable[[str, str], ConfigError]) -> None:
    """Raises what `refuse` makes for the first of them."""
    for name, entry in file.models.items():
        for path, use in _uses(entry):
            other = file.models.get(use)
            if other is not None:
                _compare(file, entry, other, f"$.models.{name}.{path}", refuse)


def _uses(entry: ModelEntry) -> Iterator[tuple[str, str]]:
    """Who may serve in its place while it lasts, or get its requests too."""
    for i, rule in enumerate(entry.rules):
        yield f"rules[{i}].use", rule.use
    for variant, served in entry.experiment.variants.items() if entry.experiment else ():
        yield f"experiment.variants.{variant}.use", served.use
    if entry.canary is not None:
        yield "canary.use", entry.canary.use
    if entry.shadow is not None:
        yield "shadow.use", entry.shadow.use


def _compare(
    file: File,
    entry: ModelEntry,
    other: ModelEntry,
    path: str,
    refuse: Callable[[str, str], ConfigError],
) -> None:
    for kind, section in (("redaction", file.redaction), ("guardrails", file.guardrails)):
        default = section.default if section else None
        its = getattr(other, kind) or default or OFF
        own = getattr(entry, kind) or default or OFF
        if its not in {OFF, own}:
            under = f"under {own}" if own != OFF else "under none"
            problem = f"is under the {kind} {its}, and what is asked for here {under}: name one"
            raise refuse(path, problem)
