"""Rules for what opens doors: keys by the formats their issuers document, and what is named one."""

from __future__ import annotations

from dragoman.policies.redact.assigned import (
    check_assigned,
    check_password,
    check_random,
    check_random_password,
)
from dragoman.policies.redact.checks import check_jwt, check_key, check_token
from dragoman.policies.redact.rules import Check, Rule, after


def _key(name: str, pattern: str, check: Check = check_key) -> Rule:
    return Rule(name=name, gate="keys", entity="api_key", pattern=pattern, priority=90, check=check)


_HEX = "[0-9a-f]"
_WORD = "[A-Za-z0-9]"
_URL = "[A-Za-z0-9_-]"
_KEYS = (
    _key("aws_access_key", r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b"),
    _key("google_api_key", rf"\bAIza{_URL}{{35}}"),
    _key("google_oauth", rf"\b(?:ya29\.[A-Za-z0-9_.-]{{20,}}|GOCSPX-{_URL}{{28}}|1//0{_URL}{{30,}})"),
    _key("github", rf"\b(?:gh[pousr]_{_WORD}{{36,}}|github_pat_[A-Za-z0-9_]{{22,}})"),
    _key("gitlab", rf"\b(?:gl(?:pat|ptt|dt|rtr?|cbt|soat|ft|ffct|imt|agent|oas)-{_URL}{{20,}}(?:\.[a-z0-9]{{2}}\.[a-z0-9]{{7}})?|GR1348941{_URL}{{20,}})"),
    _key("slack", r"\b(?:(?:xoxe\.)?xox[abeoprs]|xapp)-[A-Za-z0-9-]{10,}"),
    _key("webhook", r"https://(?:hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9/_-]{20,}"
         r"|(?:\w+\.)?discord(?:app)?\.com/api/webhooks/\d{15,}/[A-Za-z0-9_-]{20,}"
         r"|[a-z0-9-]+\.webhook\.office\.com/webhookb2/[A-Za-z0-9/@-]{40,})"),
    _key("stripe", rf"\b(?:[sr]k|pk)_(?:live|test|prod)_{_WORD}{{10,}}|\bwhsec_[A-Za-z0-9+/=]{{24,}}"),
    _key("anthropic", rf"\bsk-ant-{_URL}{{20,}}"),
    _key("openai", rf"\bsk-(?:(?:proj|svcacct|admin|None|or-v1|lf)-{_URL}{{20,}}|{_WORD}{{32,}})", check_token),
    _key("hugging_face", rf"\b(?:hf_|api_org_){_WORD}{{30,}}"),
    _key("hosted_model", rf"\br8_{_WORD}{{37}}|\bgsk_{_WORD}{{40,}}|\bxai-{_WORD}{{60,}}"
         rf"|\bpplx-{_WORD}{{40,}}|\bnvapi-{_URL}{{60,}}|\bfw_{_WORD}{{22,}}|\btgp_v1_{_URL}{{40,}}|\bcsk-{_WORD}{{40,}}"
         rf"|\bjina_{_WORD}{{50,}}|\bpa-{_URL}{{40,}}|\btvly-(?:dev-|prod-)?{_WORD}{{24,}}|\bpcsk_{_WORD}{{4,}}_{_WORD}{{40,}}|\blsv2_(?:pt|sk)_{_HEX}{{32}}_{_HEX}{{10}}"
         rf"|\bsk_{_HEX}{{40,}}\b|\bABSK[A-Za-z0-9+/]{{100,}}={{0,2}}|\bbedrock-api-key-[A-Za-z0-9+/=]{{40,}}", check_token),
    _key("package_registry", rf"\bnpm_{_WORD}{{36}}|\bpypi-{_URL}{{50,}}|\bCLOJARS_[a-z0-9]{{60}}|\bcmVmd{_WORD}{{59}}|\bsha256~{_URL}{{43}}|\brubygems_{_HEX}{{48}}|\bdckr_[po]at_{_URL}{{27,}}"
         rf"|\boy2[a-z0-9]{{43}}\b|\bcio{_WORD}{{32}}\b|\bAKCp{_WORD}{{60,}}", check_token),
    _key("twilio", rf"\b(?:AC|SK){_HEX}{{32}}\b"),
    _key("sendgrid", rf"\bSG\.{_URL}{{16,32}}\.{_URL}{{32,64}}"),
    _key("mail_service", rf"\bkey-{_HEX}{{32}}\b|\b{_HEX}{{32}}-us\d{{1,2}}\b|\bx(?:keysib|smtpsib)-{_HEX}{{64}}-{_WORD}{{16}}|\b{_HEX}{{32}}-{_HEX}{{8}}-{_HEX}{{8}}\b|\bre_{_WORD}{{8}}_{_WORD}{{20,}}"),
    _key("commerce", rf"\bshp(?:at|ca|pa|ss)_[a-fA-F0-9]{{32}}|\bsq0[a-z]{{3}}-{_URL}{{22,}}|\bEAAA[A-Za-z0-9_-]{{60}}"
         rf"|\baccess_token\$(?:production|sandbox)\$[a-z0-9]{{16}}\${_HEX}{{32}}|\b(?:EZ[AT]K){_WORD}{{54}}"
         rf"|\bFLW(?:SEC|PUB)K(?:_TEST)?-{_WORD}{{12,40}}(?:-X)?|\bshippo_(?:live|test)_{_HEX}{{40}}|\b(?:live|test)_(?:pub_)?{_HEX}{{31,40}}\b|\bduffel_(?:live|test)_{_URL}{{43}}"),
    _key("cloud_platform", rf"\bdo[opr]_v1_{_HEX}{{64}}|\bdapi{_HEX}{{32}}(?:-\d)?|\bHRKU-{_URL}{{30,}}|\bf(?:m1[ar]|m2|o1)_[A-Za-z0-9+/=_-]{{43,}}|\bvc[a-z]_{_WORD}{{24,}}|\btk-us-{_URL}{{48}}|\bt1\.{_URL}+={{0,2}}\.{_URL}{{86}}={{0,2}}|\bAQVN{_URL}{{35,38}}"
         rf"|\bdnkey-[a-z0-9=_-]{{26}}-[a-z0-9=_-]{{52}}|\btskey-[a-z]{{2,12}}-{_WORD}{{8,}}-{_WORD}{{20,}}|\bsb_secret_{_URL}{{28,}}"
         rf"|\bnfp_{_WORD}{{36}}|\bpscale_(?:tkn|pw|oauth)_{_URL}{{32,}}|\bsbp_{_HEX}{{40}}|\bLTAI{_WORD}{{16,20}}\b|\bAKID{_WORD}{{32}}\b"
         rf"|\brnd_{_WORD}{{24,}}\b|\bv1\.0-{_HEX}{{24}}-{_HEX}{{64,}}"),
    _key("azure", r"\b[A-Za-z0-9_~.]{3}\dQ~[A-Za-z0-9_~.-]{31,34}|(?i:\bAccountKey=|\bSharedAccessKey=)([A-Za-z0-9+/]{40,}={0,2})"),
    _key("azure_sas", r"[?&]sig=([A-Za-z0-9%+/]{40,}(?:%3[dD]|=)?)"),
    _key("developer_tool", rf"\bATATT3[A-Za-z0-9_=-]{{60,}}|\bATCTT3[A-Za-z0-9_=-]{{60,}}|\blin_api_{_WORD}{{40}}|\b(?:secret|ntn)_{_WORD}{{40,}}"
         rf"|\bpat{_WORD}{{14}}\.{_HEX}{{64}}|\bNRAK-[A-Z0-9]{{27}}|\bsntry[su]_[A-Za-z0-9+/=_-]{{40,}}|\bgl(?:sa|c)_[A-Za-z0-9_+/=]{{32,}}"
         rf"|\bPMAK-{_HEX}{{24}}-{_HEX}{{34}}|\bfig[dour]_{_URL}{{40,}}|\bpul-{_HEX}{{40}}|\bCFPAT-{_URL}{{43}}|\bsk_live_{_WORD}{{20,}}"
         rf"|\bphc_{_WORD}{{40,}}|\bphx_{_WORD}{{40,}}|\bCCIPAT_{_URL}{{20,}}|\bbkua_{_HEX}{{40}}|\bsq[apu]_{_HEX}{{40}}|\bdop_v1_{_HEX}{{64}}"
         rf"|\bATBB{_WORD}{{24,}}|\bNR(?:JS-{_HEX}{{19}}|II-{_URL}{{32}})|\bdt0[a-z]01\.[A-Z0-9]{{8,24}}\.[A-Z0-9]{{64}}|\bpnu_{_WORD}{{36}}|\brdme_[a-z0-9]{{70}}"
         rf"|\bsgp_(?:{_HEX}{{16}}_|local_)?{_HEX}{{40}}|\btfp_[A-Za-z0-9_.=-]{{59}}|\bico-{_WORD}{{32}}|\bAPI-[A-Z0-9]{{26}}\b|\b[ps]k\.eyJ{_WORD}{{50,}}\.{_URL}{{22}}"
         rf"|\bsm_(?:aat|pat|sat)_{_WORD}{{16}}|\bs-s4t2(?:ud|af)-{_HEX}{{64}}|\bfio-u-[A-Za-z0-9_=-]{{64}}|\bpat\.{_URL}{{22}}\.{_HEX}{{24}}\.{_WORD}{{20}}"
         rf"|\bp8e-{_WORD}{{32}}|\b{_WORD}{{6}}_{_WORD}{{29}}_mmk\b|\b[12]/\d{{16}}(?:/\d{{16}})?:{_HEX}{{32}}\b"),
    _key("vault", rf"\bhv[sbr]\.{_URL}{{24,}}|\b{_WORD}{{14}}\.atlasv1\.{_URL}{{60,}}|\bdp\.(?:pt|st|ct|sa)\.[A-Za-z0-9.]{{40,}}"
         rf"|\bAGE-SECRET-KEY-1[0-9A-Z]{{58}}|\bops_eyJ[A-Za-z0-9+/=_-]{{100,}}"
         rf"|\bA3-[A-Z0-9]{{6}}-(?:[A-Z0-9]{{11}}|[A-Z0-9]{{6}}-[A-Z0-9]{{5}})(?:-[A-Z0-9]{{5}}){{3}}\b|\b(?:sc|ext|scauth|authress)_[a-z0-9]{{5,30}}\.[a-z0-9]{{4,6}}\.acc[_-][a-z0-9-]{{10,32}}\.[A-Za-z0-9+/_=-]{{30,}}"),
    _key("bot", rf"\b\d{{8,10}}:A{_URL}{{34}}|\b[MNO][A-Za-z0-9_-]{{23,25}}\.{_URL}{{6}}\.{_URL}{{27,38}}|\bEAA[A-Za-z0-9]{{80,}}"),
    _key("bearer", r"(?i:\bBearer\s+|\bauthorization[\"']?\s{0,2}[:=]\s{0,2}[\"']?(?:token|api-?key|key|bot)\s+)([A-Za-z0-9._~+/-]{16,}={0,2})", check_token),
    _key("basic", r"(?i:\bBasic\s+)([A-Za-z0-9+/]{16,}={0,2})", check_token),
    Rule(
        name="aws_secret_key",
        gate="keys",
        entity="api_key",
        pattern=after("aws|secret[ _-]?(?:access[ _-]?)?key", r"\b[A-Za-z0-9+/]{40}\b", "."),
        priority=88,
        check=check_token,
    ),
)  # fmt: skip
_BLOCKS = (
    Rule(
        name="private_key",
        gate="blocks",
        entity="private_key",
        pattern=r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
        r"[A-Za-z0-9+/=\s\\:,.()-]*?(?:-----END (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----|\z)"
        r"|-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----(?:[\s\\nr]{0,8}[A-Za-z0-9+/=:,]{1,80})+",
        priority=95,
    ),
    Rule(name="putty_key", gate="blocks", entity="private_key", pattern=r"PuTTY-User-Key-File-\d: [^\n]+(?:\n[^\n]{1,160})+", priority=95),
    Rule(
        name="jwt",
        gate="keys",
        entity="jwt",
        pattern=rf"\beyJ{_URL}{{10,}}\.{_URL}{{10,}}(?:\.{_URL}*){{1,3}}",
        priority=92,
        check=check_jwt,
    ),
)  # fmt: skip
_CONNECTIONS = (
    Rule(
        name="url_with_password",
        gate="url_with_password",
        entity="connection_string",
        pattern=r"[A-Za-z][A-Za-z0-9+.-]*://[^\s:/@\"'<>]{0,128}:[^\s/@\"'<>]{2,256}@[^\s\"'<>,;)]{2,}",
        priority=93,
        check=lambda text, start, end: (
            None
            if text[start:end].partition(b"://")[2].partition(b"@")[0].rpartition(b":")[2][:1]
            in (b"$", b"{", b"<", b"*", b"%", b"[")
            else (start, end)
        ),
    ),
    Rule(
        name="key_value_connection",
        gate="key_value_connection",
        entity="connection_string",
        pattern=r"(?i)\b(?:server|data source|host|addr|address|driver|endpoint|defaultendpointsprotocol|accountname)"
        r"\s?=\s?[^;\"'\n]+;(?:\s?[a-z ]+\s?=\s?[^;\"'\n]*;){0,12}?"
        r"\s?(?:password|pwd|accountkey|sharedaccesskey)\s?=\s?[^;\"'\s]{2,200};?(?:\s?[a-z ]+=[^;\"'\s]+;?){0,8}",
        priority=91,
    ),
)  # fmt: skip
_PASSWORDS = r"passw(?:or)?d|passphrase|passcode|passwort|kennwort|contrase\x{F1}a|mot de passe|senha|wachtwoord|has\x{142}o"
_SHORT = "pass|pwd|psw|pw|pin"
_TOKENS = (
    r"secret|token|api[ _.-]?key|apikey|access[ _.-]?key|auth[ _.-]?key|secret[ _.-]?key|private[ _.-]?key"
    r"|signing[ _.-]?key|encryption[ _.-]?key|account[ _.-]?key|credentials?"
)
_QUOTE = r"[\\\"'\x{60}]"
_IS = r"\s{0,4}(?:[=:?!|]{1,4}>?|\x{FF1A}|>)\s{0,4}"
"""What stands between a name and its value, in configuration and in code."""
_REST = r"(?:[_.-][a-z0-9]{1,12}){0,2}" + _QUOTE + r"{0,3}[\])]?"
_VALUE = r"([^\s\"'\x{60},;<>&]{1,256})"
_NAMED = (
    Rule(
        name="assigned_password",
        gate="named",
        entity="password",
        pattern=rf"(?i)(?:{_PASSWORDS}|(?:^|[^a-z])(?:{_SHORT})){_REST}{_IS}{_QUOTE}{{0,3}}{_VALUE}",
        priority=60,
        check=check_password,
    ),
    Rule(
        name="assigned_pass",
        gate="named",
        entity="password",
        pattern=rf"[a-z0-9]P(?:ass|wd|w){_QUOTE}{{0,3}}{_IS}{_QUOTE}{{0,3}}{_VALUE}",
        priority=60,
        check=check_password,
    ),
    Rule(
        name="assigned_token",
        gate="named",
        entity="password",
        pattern=rf"(?i)(?:{_TOKENS}){_REST}(?::? ?(?:str|string|const char ?\*))?{_IS}{_QUOTE}{{0,3}}{_VALUE}",
        priority=60,
        check=check_assigned,
    ),
    Rule(
        name="assigned_key",
        gate="keys",
        entity="password",
        pattern=r"(?i)(?:key|token|secret|passw(?:or)?d|auth|credentials?)(?:[_.-]?[a-z0-9]{1,12})?" + _QUOTE + r"{0,3}[\])]?"
        r"(?:\s{0,4}[=:?!|,>]{1,4}>?\s{0,4}|\s(?:is |was )?)" + _QUOTE + r"{0,3}([A-Za-z0-9+/=_.~-]{16,256})",
        priority=59,
        check=check_random,
    ),
    Rule(
        name="assigned_fallback",
        gate="keys",
        entity="password",
        pattern=r"(?i)(?:key|token|secret|password|auth)" + _QUOTE + r"?[\])]?\s{0,2}:?=[^\n=;]{1,40}(?:\|\||\?\?|\bor\b|\?:|,)\s{0,2}[\"'\x{60}]([A-Za-z0-9+/=_.~-]{16,256})",
        priority=59,
        check=check_random,
    ),
    Rule(
        name="told",
        gate="named",
        entity="password",
        pattern=rf"(?i)\b(?:{_PASSWORDS}|pwd|pin|api key|secret key|access key|(?:access |auth )?token|secret|parola)"
        r"(?: (?:for|to|of) [\w.@ -]{1,40}?)? (?:is|was|are|=>|ist|es|est|\x{E9}|\x{E8}|jest|:)(?: now| set to)?:?\s[\"'\x{60}]{0,3}" + _VALUE,
        priority=60,
        check=check_password,
    ),
    Rule(
        name="told_after",
        gate="named",
        entity="password",
        pattern=rf"(?i)\b(?:{_PASSWORDS}|pwd)\s[\"'\x{{60}}]{{0,3}}{_VALUE}",
        priority=59,
        check=check_random_password,
    ),
    Rule(
        name="option",
        gate="named",
        entity="password",
        pattern=r"(?:--(?:[a-z0-9]+-){0,3}(?:password|passwd|token|secret|api-key|access-token)[= ]|\bsshpass -p ?|\bcurl [^\n]{0,80}?-u [^\s:]{1,40}:|\bmysql [^\n]{0,80}?-p)[\"']?([^\s\"']{4,128})",
        priority=60,
        check=check_password,
    ),
)  # fmt: skip
SECRETS = (*_KEYS, *_BLOCKS, *_CONNECTIONS, *_NAMED)
