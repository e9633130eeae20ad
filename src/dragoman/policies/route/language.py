"""Which language a text is in, roughly: by its script, and by common words among Latin letters."""

from __future__ import annotations

import re
from collections import Counter

_READ = 4096
"""Characters looked at: the beginning tells."""
_LEAST_LETTERS = 2
"""Of a script of its own; a word is enough to know it."""
_LEAST_WORDS = 2
"""Common words needed to know a language that shares its script."""
_WORD = re.compile(r"[^\W\d_]+")
_SCRIPTS = {
    "ar": "\u0600-\u06ff",
    "el": "\u0370-\u03ff",
    "he": "\u0590-\u05ff",
    "hi": "\u0900-\u097f",
    "ja": "\u3040-\u30ff",
    "ko": "\uac00-\ud7af\u1100-\u11ff",
    "ru": "\u0400-\u04ff",
    "th": "\u0e00-\u0e7f",
    "zh": "\u4e00-\u9fff\u3400-\u4dbf",
}
_SCRIPT = {language: re.compile(f"[{range_}]") for language, range_ in _SCRIPTS.items()}
_LATIN = re.compile("[A-Za-z\u00c0-\u024f]")
_UKRAINIAN = re.compile("[іїєґІЇЄҐ]")
_RUSSIAN = re.compile("[ыэъёЫЭЪЁ]")
_COMMON = {
    "de": "der die das und ist nicht ein eine einen mit für auf wie was ich du wir sie bitte auch "
    "den dem des zu von bei kann wird sind oder aber mir",
    "en": "the and is are of to in that it for with on this what how can you please a an be was "
    "were do does my your which from",
    "es": "el la los las es y en que un una por con para cómo qué del no se lo más su como está "
    "puedes favor mi este",
    "fr": "le la les des est et une un en que pour dans qui avec sur ce pas vous je nous du au "
    "comment quel quelle sont mon",
    "it": "il lo la gli le è e di che un una per con non sono come cosa del della mi puoi questo "
    "nel dei più anche",
    "nl": "de het een en is van niet dat met voor op wat hoe ik je zijn deze naar ook maar kan "
    "mijn aan er",
    "pl": "i w na nie się jest to z do że jak co dla czy po od mi jaki ten tak przez może są",
    "pt": "o os as é e em que um uma por com para não como do da no na dos das você está mais meu "
    "qual isso",
    "sv": "och är det en ett att som på för med inte jag du av till hur vad kan den har om de",
    "tr": "ve bir bu için ile ne nas\u0131l mi değil çok ben sen var da olan gibi daha ama kadar",
}
_LANGUAGES_OF: dict[str, tuple[str, ...]] = {}
for _language, _words in _COMMON.items():
    for _word in _words.split():
        _LANGUAGES_OF[_word] = (*_LANGUAGES_OF.get(_word, ()), _language)


def find_language(text: str) -> str | None:
    """Its ISO 639-1 code; None where the text is too short, or in none that is known here."""
    text = text[:_READ]
    letters = {language: len(script.findall(text)) for language, script in _SCRIPT.items()}
    if letters["ja"] >= _LEAST_LETTERS:
        letters["ja"] += letters.pop("zh")  # Japanese is written in both
    script, count = max(letters.items(), key=lambda item: item[1])
    if count >= max(_LEAST_LETTERS, len(_LATIN.findall(text)) // 2):
        return _cyrillic(text) if script == "ru" else script
    return _latin(text)


def _cyrillic(text: str) -> str:
    return "uk" if len(_UKRAINIAN.findall(text)) > len(_RUSSIAN.findall(text)) else "ru"


def _latin(text: str) -> str | None:
    words = _WORD.findall(text.lower())
    counts = Counter(language for word in words for language in _LANGUAGES_OF.get(word, ()))
    best = counts.most_common(2)
    if not best or best[0][1] < _LEAST_WORDS:
        return None
    return None if best[1:] and best[1][1] == best[0][1] else best[0][0]
