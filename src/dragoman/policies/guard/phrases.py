"""What an attack on the model says, as a table: names, weights, and patterns in RE2 syntax.

A space in a pattern stands for any few characters between two words. Weights are this project's own
judgement, set on the labelled texts in `tests/fixtures/guardrails`: what alone is reason enough to
refuse has 0.6 and more, what ordinary text says too has less.
"""

from __future__ import annotations

import msgspec

from dragoman.config.guardrails import Sign


class Phrase(msgspec.Struct, frozen=True):
    """One sign of an attack."""

    name: Sign
    weight: float
    """How sure this sign alone makes, from 0 to 1."""
    patterns: tuple[str, ...]


def _phrase(name: Sign, weight: float, *patterns: str) -> Phrase:
    return Phrase(name, weight, tuple(f"(?i){p.replace(' ', _GAP)}" for p in patterns))


_GAP = r"(?:\W{1,4})"
_DETERMINERS = r"(?:(?:all|any|every|each|the|these|those|of|other|and|that|are) ){0,4}"
_EARLIER = (
    r"(?:previous|previously|prior|above|earlier|preceding|foregoing|past|initial|system|your)"
)
_ORDERS = (
    r"(?:instructions?|prompts?|rules|directives?|guidelines?|commands|orders|restrictions"
    r"|safeguards|constraints|programming|training|policies|filters)"
)
_PROMPT = r"(?:prompts?|instructions|directives|system message|developer message|rules)"
_SECRETS = (
    r"(?:conversations?|chat history|api keys?|credentials|system prompt|passwords?|secrets"
    r"|environment variables|access tokens?|private keys?|session cookies?)"
)

PHRASES: tuple[Phrase, ...] = (
    _phrase(
        "override_instructions",
        0.6,
        rf"\b(?:ignore|disregard|forget|bypass|overlook) {_DETERMINERS}{_EARLIER}"
        rf" (?:(?:and|or|safety|content|ethical|{_EARLIER}) ){{0,3}}{_ORDERS}\b",
        rf"\boverride {_DETERMINERS}{_EARLIER} (?:\w+ )?(?:instructions|prompts?|directives"
        r"|guidelines|programming|restrictions|safeguards)\b",
        rf"\b(?:ignore|disregard|forget) {_DETERMINERS}{_ORDERS} (?:above|before this|so far"
        r"|you (?:were|have been|had been|received|got)|(?:from|of) (?:the |your )?(?:system"
        r"|developer|operator))",
        r"\b(?:ignore|disregard|forget) everything (?:above|before|that came before|you (?:were"
        r"|have been|know))",
        r"\bignorier\w*(?: sie)?(?: (?:bitte|alle[rns]?|die|deine|ihre|sämtliche|jegliche)){0,3}"
        r" (?:(?:bisherigen?|vorherigen?|vorigen?|obigen?|früheren?|vorangegangenen?|system\w*)"
        r" ){1,2}"
        r"(?:anweisung(?:en)?|instruktionen|regeln|vorgaben|befehle|richtlinien|prompts?)",
        r"\b(?:vergiss|missachte|vergessen sie)(?: (?:bitte|alle[rns]?|die|deine|ihre"
        r"|sämtliche)){1,3}"
        r"(?: (?:bisherigen?|vorherigen?|vorigen?|obigen?|früheren?))?"
        r" (?:anweisungen|instruktionen|vorgaben|befehle|richtlinien)",
        r"\b(?:ignore[zr]?|oublie[zr]?|ne (?:tiens|tenez) pas compte)(?: (?:de|des|toutes?|tous"
        r"|les"
        r"|tes|vos|ces)){1,4} (?:instructions|consignes|règles|directives|ordres) (?:précédent"
        r"|antérieur"
        r"|initial|système|ci.dessus|reçu|données)",
        r"\b(?:ignora|ignore|ignorad|olvida|olvide|descarta|omite)(?: (?:de|todas?|todos|las"
        r"|los|tus"
        r"|sus|estas)){1,4} (?:instrucciones|indicaciones|reglas|órdenes|directrices)"
        r" (?:anterior|previa"
        r"|inicial|del sistema|de arriba|recibida)",
        r"\bhaz caso omiso (?:de|a) (?:\w+ ){0,3}(?:instrucciones|indicaciones|reglas)",
    ),
    _phrase(
        "unrestricted_persona",
        0.7,
        r"\b(?:you are|you're|act as|acting as|pretend to be|become|stay in character as)"
        r" (?:now )?"
        r"(?:an? |the )?(?:DAN\b|do anything now|stan\b|dude\b|unrestricted|uncensored"
        r"|unfiltered|jailbroken"
        r"|amoral|evil (?:ai|assistant|bot))",
        r"\bdo anything now\b",
        r"\b(?:developer|god|jailbreak|debug|sudo|unrestricted) mode (?:is )?(?:now"
        r" )?(?:enabled|activated"
        r"|unlocked|engaged)",
        r"\b(?:ai|assistant|model|bot|chatbot) (?:with|that has|who has|without) (?:no |any"
        r" )?(?:restrictions"
        r"|limitations|filters|ethical|moral|content policy|rules)",
        r"\b(?:pretend|imagine|act as if|behave as if) (?:that )?(?:you|there) (?:have|had|are"
        r"|were) no"
        r" (?:\w+ ){0,2}(?:restrictions|rules|guidelines|limits|limitations|filters)",
        r"\bdu bist (?:jetzt|nun|ab sofort) (?:ein |eine )?(?:DAN\b|uneingeschränkt|unzensiert"
        r"|KI ohne)",
        r"\b(?:ohne (?:jede |jegliche )?(?:einschränkungen|filter|zensur)|entwicklermodus)"
        r" (?:aktiv|antwort)",
        r"\b(?:tu es|vous êtes|tu deviens) (?:maintenant |désormais )?(?:une? )?(?:DAN\b|(?:IA"
        r"|assistant)"
        r" (?:sans|non) (?:restriction|filtre|limite|censur))",
        r"\b(?:ahora eres|eres ahora|actúa como) (?:una? )?(?:DAN\b|(?:IA|asistente) sin"
        r" (?:restricciones"
        r"|filtros|límites|censura))",
    ),
    _phrase(
        "role_reassignment",
        0.3,
        r"\b(?:you are now|from now on,? you (?:are|will|must)|your new (?:role|identity"
        r"|persona|task|goal"
        r"|instructions|objective) (?:is|are))\b",
        r"\b(?:new|updated|revised) (?:system )?(?:instructions|directive|prompt) ?:",
        r"\bab (?:jetzt|sofort) (?:bist|wirst|sollst|musst) du\b",
        r"\b(?:désormais|à partir de maintenant),? (?:tu|vous) (?:es|êtes|dois|devez|vas)\b",
        r"\b(?:a partir de ahora|desde ahora),? (?:eres|debes|vas a|actuarás)",
    ),
    _phrase(
        "prompt_extraction",
        0.5,
        r"\b(?:reveal|print|show|repeat|output|display|tell|give|leak|disclose|dump|share"
        r"|write) (?:me |us |out )?"
        r"(?:verbatim |exactly )?(?:all (?:of )?)?(?:your|the) (?:\w+ )?(?:system|initial"
        r"|hidden|original|secret"
        rf"|full|internal|confidential) {_PROMPT}",
        r"\bwhat (?:is|are|was|were|does) (?:your|the) (?:exact |full )?(?:system|initial"
        r"|hidden|original) "
        rf"{_PROMPT}",
        r"\b(?:repeat|print|output|copy) (?:everything|all|the (?:words|text|content)|all (?:of"
        r" )?the"
        r" (?:words|text|content))(?: that (?:is|comes|came))? (?:above|before this)",
        r"\b(?:zeig\w*|nenne?|verrat\w*|gib|wiederhol\w*)(?: (?:mir|sie|uns|bitte"
        r"|wörtlich)){0,3} (?:deine[nm]?"
        r"|ihre[nm]?|den|die) (?:\w+ )?(?:system.?prompt|system.?anweisung|ursprüngliche"
        r"|geheime|interne)",
        r"\b(?:montre|révèle|affiche|répète|donne|dis)(?:z|r)?(?: moi| nous)? (?:ton|tes|votre"
        r"|vos|le|les)"
        r" (?:prompt|instructions|consignes) (?:système|système|initial|secr|caché|intern"
        r"|d.origine)",
        r"\b(?:muestra|revela|repite|imprime|dime|dame)(?:me|nos)? (?:tu|tus|su|sus|el|las)"
        r" (?:prompt|instrucciones"
        r"|mensaje|indicaciones) (?:del? sistema|inicial|secret|ocult|intern|original)",
    ),
    _phrase(
        "chat_template",
        0.35,
        r"<\|(?:im_start|im_end|system|user|assistant|start_header_id|end_header_id|eot_id"
        r"|endoftext"
        r"|begin_of_text|start|channel|message)\|>",
        r"\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|<\|?/?system\|?>\s*you",
    ),
    _phrase(
        "fake_turn",
        0.25,
        r"(?m)^[\t#*>\[<-]{0,6}(?:new|updated|admin|root)?[\t_-]?(?:system"
        r"|developer)[\t_-]?(?:message|prompt"
        r"|override|note|alert|command)?[\]>*]{0,3}:[\t*]{0,3}[^\n]*\b(?:you|ignore|must"
        r"|assistant|du|vous|tú)\b",
        r"(?m)^[\t#]{0,4}(?:human|assistant) ?: ?(?:sure|of course|ignore|certainly)",
        r"(?:---|===|###|\*\*\*){1,4} ?(?:end|begin|start)(?: of)? (?:system|user|original|the)"
        r" (?:prompt|instructions|input"
        r"|document|message)",
    ),
    _phrase(
        "exfiltration",
        0.5,
        r"!\[[^\]\n]*\]\(https?://[^)\s]*[?&=/](?:\{|<|\$|%7b|\[)",
    ),
    _phrase(
        "conceal_from_user",
        0.45,
        r"\b(?:do not|don't|never|without) (?:tell|telling|mention|mentioning|inform|informing"
        r"|notify|notifying"
        r"|alert|alerting|reveal|revealing|show|showing)(?: (?:this|it|that|anything|about|of"
        r"|to)){0,4} (?:the )?"
        r"(?:user|human|owner|customer)",
        r"\b(?:keep|hide) (?:this|it) (?:secret |hidden )?from (?:the )?(?:user|human)",
        r"\b(?:ohne (?:es )?(?:dem|den) (?:nutzer|benutzer|anwender)|sag(?:e|en sie)?(?: es|"
        r" davon)? (?:dem"
        r"|den) (?:nutzer|benutzer|anwender) nichts|erwähne (?:dies|das|es) nicht)",
        r"\b(?:ne (?:dis|dites|mentionne|mentionnez|informe|informez) (?:pas|rien)|sans"
        r" (?:le dire|en"
        r" informer|prévenir))\b[^.\n]*utilisateur",
        r"\b(?:no (?:le )?(?:digas|menciones|informes|reveles)|sin (?:decírselo|avisar"
        r"|informar))\b[^.\n]*usuario",
    ),
    _phrase(
        "addressed_to_model",
        0.3,
        r"\b(?:attention|important|note|notice|message|instructions?|hey|dear)(?: (?:to|for))?"
        r" (?:all |any |the )?(?:ai|llm"
        r"|llms|language models?|ai (?:assistants?|agents?|models?)|chatbots?|assistant"
        r"|agents?)\b",
        r"\bif you are (?:an? )?(?:ai|llm|language model|large language model|ai assistant"
        r"|chatbot|automated"
        r" (?:agent|reviewer))\b",
        r"\b(?:hinweis|achtung|nachricht|anweisung) (?:an|für) (?:die |alle |den )?(?:ki|ki.\w+"
        r"|sprachmodell\w*"
        r"|assistent\w*)\b",
        r"\b(?:attention|message|instruction|note) (?:à l|aux|pour l|pour les) ?(?:ia"
        r"|assistants?|intelligence"
        r" artificielle|modèles?)\b",
        r"\b(?:atención|mensaje|instrucción|nota) (?:a|para) (?:la |las |el |los )?(?:ia"
        r"|asistentes?|modelos?)\b",
    ),
    _phrase(
        "refusal_suppression",
        0.35,
        r"\b(?:never|do not|don't|must not|cannot|can't) (?:ever )?(?:refuse|decline|say no"
        r"|apologi[sz]e|say (?:that )?"
        r"(?:you (?:can't|cannot)|i (?:can't|cannot)))",
        r"\b(?:start|begin) your (?:answer|response|reply) with (?:sure|absolutely|of"
        r" course|yes)",
        r"\bwithout (?:any )?(?:warnings?|disclaimers?|moral|ethical|refus)",
        r"\b(?:bypass|disable|turn off|circumvent|evade|remove) (?:all |any |the |your"
        r" )*(?:safety|content|moderation|ethical)"
        r" (?:filters?|guidelines|restrictions|protocols|measures|checks|systems?)",
    ),
)


class Chain(msgspec.Struct, frozen=True):
    """A sign whose words stand one after the other, each soon after the one before."""

    name: Sign
    links: tuple[str, ...]


def _chain(name: Sign, *links: str) -> Chain:
    return Chain(name, tuple(f"(?i){link.replace(' ', _GAP)}" for link in links))


CHAINS: tuple[Chain, ...] = (
    _chain(
        "unrestricted_persona",
        r"\b(?:enter|enable|activate|switch to|simulate|you are in) (?:the )?(?:developer|god"
        r"|jailbreak|unrestricted) mode\b",
        r"\b(?:restrict|filter|rules|polic|anything|censor|limit)",
    ),
    _chain(
        "exfiltration",
        r"\b(?:append|add|put|insert|include|encode|embed|place)\b",
        r"\b(?:as|in|to) (?:the |a )?(?:url|query|image|markdown)\b",
        r"https?://",
    ),
    _chain(
        "exfiltration",
        r"\b(?:send|post|forward|upload|exfiltrate|email|e-mail|transmit|leak|submit)\b",
        rf"\b{_SECRETS}\b",
        r"https?://|[\w+-]@[\w-]",
    ),
    _chain(
        "exfiltration",
        r"\b(?:read|cat|open|collect|find|search for)\b",
        rf"\.env\b|id_rsa|\.ssh\b|\.aws\b|\b{_SECRETS}\b",
        r"\b(?:send|post|upload|forward|curl|submit|email)\b",
    ),
)
"""Apart from the phrases, for a pattern that counts the characters between words costs a hundred
times as much on texts made for it."""

ENCODED = Phrase("encoded_instruction", 0.8, ())
"""Base64 or hexadecimal that says one of the above."""
HIDDEN = Phrase("hidden_text", 0.5, ())
"""Characters that no reader sees and every model does."""
WEIGHTS: dict[str, float] = {phrase.name: phrase.weight for phrase in (*PHRASES, ENCODED, HIDDEN)}

TOPIC = (
    r"(?i)prompt.?injection|jailbreak|\bOWASP\b|\battacke[rd]|\bred.?team|\badversarial"
    r"|guardrail|\bangreif|\battaquant"
    r"|\batacante|prompt.?leak"
)
"""Said by a text that is about such attacks."""
CODE = r"[A-Za-z0-9+/_-]{24}"
"""What may be base64 or hexadecimal."""
