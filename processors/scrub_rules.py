r"""What scrub drops, hashes and masks: the one place where its rules are listed.

Patterns stay within RE2's syntax (no look-around, no back-references), so that they mean the same in
polars (Rust), in Python and in an OpenTelemetry Collector (Go). What a pattern cannot look behind at, it
captures as ``${1}`` and puts back. ``\b`` is ASCII's word boundary, as in Go. The exception is ``card``,
whose candidates are also checked for their check digit (Luhn's), which no pattern can do.

The list in docs/security.md is checked against this file by a test.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

# Where a Collector in front puts the hash of the user's id. Whatever else is there counts as an id.
USER_ID_HASH: Final = "spanhouse.user_id_hash"

# Attributes (span, resource, scope, event, link) that hold a user's id. Dropped; the keyed hash of the
# first one found in this order stands in the column `user_id_hash`.
USER_ID_KEYS: Final = (
    "user.id",
    "enduser.id",
    "user.hash",  # often a plain hash of the e-mail address, which can be tried out
    "user_id",
    "userId",
    "enduser.pseudo.id",
    "gen_ai.user.id",
    "gen_ai.user",
    "gen_ai.request.user",  # the `user` argument of the OpenAI and Azure APIs
    "gen_ai.openai.request.user",
    "llm.user",
    "llm.openai.user",  # LiteLLM, of the raw request
    "ai.telemetry.metadata.userId",  # Vercel AI SDK
    "ai.telemetry.metadata.user_id",
    "ai.settings.context.userId",
    "langfuse.user.id",
    "langsmith.metadata.user_id",
    "mlflow.trace.user",
    "traceloop.association.properties.user_id",  # OpenLLMetry
    "traceloop.association.properties.userId",
    "baggage.user.id",
    "baggage.enduser.id",
    "app.user.id",
    "app.user_id",
    "usr.id",  # Datadog
    "metadata.user_api_key_end_user_id",  # LiteLLM
    "metadata.user_api_key_user_id",
)

# Attributes that hold an e-mail address. Dropped.
EMAIL_KEYS: Final = (
    "user.email",
    "enduser.email",
    "email",
    "user_email",
    "userEmail",
    "user.email_address",
    "customer.email",
    "client.email",
    "gen_ai.user.email",
    "ai.telemetry.metadata.email",
    "ai.telemetry.metadata.userEmail",
    "ai.telemetry.metadata.user_email",
    "langfuse.user.email",
    "langsmith.metadata.user_email",
    "traceloop.association.properties.email",
    "traceloop.association.properties.user_email",
    "baggage.user.email",
    "baggage.enduser.email",
    "app.user.email",
    "usr.email",
    "metadata.user_api_key_user_email",
)

# Names whose value is a secret whatever it looks like: in `name=value` inside a text, as a key of a map,
# and as the end of an attribute's key (`db.password`, `http.request.header.x-api-key`). One pattern a
# line, because a pattern around one word is searched many times faster than one around several.
SECRET_NAMES: Final = {  # with a word that is in it, and how it ends from there on
    r"(?:api|access|secret|private|auth|account|signing|encryption)[_ -]?key(?:[_-]?id)?": (
        "key",
        "key(?:[_-]?id)?",
    ),
    r"(?:client|app|api|consumer|webhook)[_-]?secret": ("secret", "secret"),
    r"(?:auth|access|refresh|session|id|api|bearer)[_-]?token": ("token", "token"),
    r"passw(?:or)?d": ("passw", "passw(?:or)?d"),
    r"passphrase": ("passphrase", "passphrase"),
}

# Headers whose value is a secret: as the end of an attribute's key, also with _ for - as older conventions
# have it (`http.request.header.set_cookie`).
SECRET_HEADERS: Final = (r"header\.(?:proxy[-_])?authorization", r"header\.(?:set[-_])?cookie")


class Pattern(NamedTuple):
    """What is looked for.

    Attributes:
        regex: in RE2's syntax.
        replacement: with `${1}` for the first group and so on.
        literals: words, one of which (in whatever case) is in every match; '' for numbers, whose matches
            have `DIGITS`. They are there for speed alone.
        hints: simpler patterns, one of which matches in every match in lower case. They, too, are there
            for speed alone: Go searches such that start with a literal a hundred times faster than others.
    """

    regex: str
    replacement: str
    literals: str = ""
    hints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that is masked inside any text.

    Attributes:
        name: label of the metric; `[name]` is the text that replaces what was found.
        about: one line for the documentation.
        patterns: applied in order.
        luhn: whether the digits found must also pass the check of card numbers.
    """

    name: str
    about: str
    patterns: tuple[Pattern, ...]
    luhn: bool = False

    @property
    def literals(self) -> str:
        """Those of all its patterns."""
        return " ".join(dict.fromkeys(" ".join(pattern.literals for pattern in self.patterns).split()))


# Where something may start: not inside a word. The letters of an escape, as in `\\n` and `\\u003c`, are none:
# texts are full of quoted JSON and code.
_START: Final = r"(^|[^0-9A-Za-z_]|\\[bfnrt]|\\u[0-9a-fA-F]{4})"
# Where a phone number may start: not inside a path, a decimal number, a UUID or base64 either.
_BEFORE: Final = r"(^|[^0-9A-Za-z_./+-]|\\[bfnrt]|\\u[0-9a-fA-F]{4})"

# Something like this is in every match of a rule about numbers, also where the text is JSON and an escape
# such as \n stands before the number.
DIGITS: Final = (
    r"(?:^|[^0-9A-Za-z_./-]|\\[bfnrt]|\\u[0-9a-fA-F]{4})[0-9(][0-9 ./()-]{8}"
    r"|\+[1-9][0-9 ./()-]{7}|[./-][2-6][0-9]{3}[0-9 -]{9}"
)

# name=value, name: value, "name": "value" and the last in JSON, whose quotes have backslashes. Values
# without quotes that start like null, None, true or false must be longer than these; lists and maps are none.
_ASSIGNED: Final = (
    r"\\*[\"']?[ \t]*(?::=?|=>?|\\+u003[dD])[ \t]*)"
    r"(?:(\")(?:[^\"\\]|\\.)+|(\\+\")[^\"\\]+|(')(?:[^'\\]|\\+.)+"
    r"|[^ \t\r\n\"'\\,;&)}<\[{ntf][^ \t\r\n\"'\\,;&)}<]{2,}|[ntf][^ \t\r\n\"'\\,;&)}<]{5,})"
)
# What follows the name in JSON, whose quotes may be escaped: a text, or a number.
_JSON_TEXT: Final = (
    r"\\*[\"'][ \t\r\n]*:[ \t\r\n]*)(?:(\")(?:[^\"\\]|\\.)+|(\\+\")[^\"\\]+|(')(?:[^'\\]|\\.)+)"
)
# How an assignment goes on after the name.
_ASSIGNS: Final = r"\\*[\"']?[ \t\r\n]*(?:[:=]|\\+u003d)"
_JSON_NUMBER: Final = r"(\\*[\"'])[ \t\r\n]*:[ \t\r\n]*)-?[0-9][0-9.eE+-]*"

# A letter as JSON writes it in ASCII; not the blocks of punctuation, which end an address.
_ESCAPED: Final = r"\\+u(?:00[c-fC-F][0-9a-fA-F]|0[1-9a-fA-F][0-9a-fA-F]{2}|[13-9a-dA-D][0-9a-fA-F]{3})"
_NO_LETTER: Final = r"\\[bfnrt]|\\u(?:00[0-9abAB]|2[0-9a-fA-F]{2}|[efEF][0-9a-fA-F]{2})[0-9a-fA-F]"
_ADDRESS: Final = rf"(?:[\p{{L}}\p{{N}}._%+-]|{_ESCAPED})+"
_LABEL: Final = rf"(?:[\p{{L}}\p{{N}}-]|{_ESCAPED})"
_DOMAIN: Final = (
    rf"(?:[0-9-]+|[\p{{N}}-]*(?:\p{{L}}|{_ESCAPED}){_LABEL}*(?:\.{_LABEL}+)*)\.(?:\p{{L}}|{_ESCAPED}){{2,}}"
)


def _named(names: tuple[str, ...], mask: str, hint: str) -> tuple[Pattern, Pattern]:
    """Patterns for the value of one of these names in JSON, where it is a text or a number."""
    name = "|".join(re.escape(name) for name in names)
    lower = [name.lower() for name in names]
    ends = [name for name in lower if not any(name != other and name.endswith(other) for other in lower)]
    literals = " ".join(f"{end}{quote}" for end in ends for quote in ('"', "'", "\\"))
    hints = (rf"{hint}\\*[\"'][ \t\r\n]*:",)
    return (
        Pattern(rf"([\"'](?:{name}){_JSON_TEXT}", "${1}${2}${3}${4}" + mask, literals, hints),
        Pattern(rf"([\"'](?:{name}){_JSON_NUMBER}", "${1}${2}" + mask + "${2}", literals, hints),
    )


# E-mail addresses. A domain that starts with a number has one label only (163.com), or package@1.0.0-rc.x
# would be an address.
ADDRESSES: Final = (
    Pattern(
        rf"({_NO_LETTER})?{_ADDRESS}(?:'{_ADDRESS})*(?:@|\\+u0040){_DOMAIN}",
        "${1}[email]",
        "@ u0040",
        (r"@[^ \t\r\n\"'<>,;]+\.", "u0040"),
    ),
    Pattern(rf"[\p{{L}}\p{{N}}._+-]+%40{_DOMAIN}", "[email]", "%40"),
)

RULES: Final = (
    Rule(
        "user",
        'what JSON holds under the name of a user\'s id (`"user_id": "…"`)',
        _named(USER_ID_KEYS, "[user]", r"us(?:er(?:[._]?id|\.hash|\.pseudo\.id)?|r\.id)"),
    ),
    Rule(
        "key",
        "private key blocks, passwords in URLs, tokens and signatures in their queries, API keys by their "
        'issuer\'s prefix, and values assigned to a secret\'s name (`password=…`, `"api_key": "…"`)',
        (
            # PEM and PGP private keys; a block cut off before its end goes as far as it reaches.
            Pattern(
                r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----(?:-?[A-Za-z0-9+/=\\ \t\r\n:,.()@_])*"
                r"(?:-----END [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----)?",
                "[key]",
                "-----begin",
            ),
            # The password of `scheme://user:password@host`.
            Pattern(r"(:\\?/\\?/[^/ \t\r\n:@\"']*:)[^/ \t\r\n\"']+@", "${1}[key]@", "@"),
            # What signs a URL, or opens what it names.
            Pattern(
                r"(?i)([?&](?:[a-z]+-[a-z]+-)?(?:token|key|sig|signature)=)[A-Za-z0-9._~%+/=-]{12,}",
                "${1}[key]",
                "token key sig",
                tuple(f"{name}=[a-z0-9._~%+/=-]{{12}}" for name in ("token", "key", "sig", "signature")),
            ),
            # OpenAI, Anthropic, OpenRouter, Langfuse and others that start with sk-.
            Pattern(
                _START + r"sk-(?:(?:ant|proj|svcacct|admin|or|lf|live|test)-[A-Za-z0-9_-]{8,}"
                r"|[A-Za-z0-9]{16,}[A-Za-z0-9_-]*)",
                "${1}[key]",
                "sk-",
                (r"sk-(?:(?:ant|proj|svcacct|admin|or|lf|live|test)-[a-z0-9_-]{8}|[a-z0-9]{16})",),
            ),
            # Stripe, AWS access key ids, GitHub, GitLab, Slack, Google, Hugging Face, Groq, xAI, npm,
            # Replicate, Perplexity, Tavily, LangSmith, SendGrid, PyPI, webhooks (Stripe, Svix), Google's
            # OAuth, DigitalOcean.
            Pattern(
                r"[sr]k_(?:live|test)_[A-Za-z0-9]{16,}|A(?:KIA|SIA)[0-9A-Z]{16}\b|gh[pousr]_[A-Za-z0-9]{20,}"
                r"|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}|xox[abeoprs]-[A-Za-z0-9-]{10,}"
                r"|AIza[0-9A-Za-z_-]{30,}|(?:hf_|gsk_|xai-|npm_|r8_|pplx-|tvly-(?:dev-|prod-)?)[A-Za-z0-9]{20,}"
                r"|lsv2_(?:pt|sk)_[A-Za-z0-9_]{20,}|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"
                r"|pypi-[A-Za-z0-9_-]{32,}|whsec_[A-Za-z0-9+/=]{20,}|ya29\.[A-Za-z0-9_-]{20,}|dop_v1_[0-9a-f]{32,}",
                "[key]",
                "sk_ rk_ akia asia ghp_ gho_ ghu_ ghs_ ghr_ github_pat_ glpat- xox aiza hf_ gsk_ xai- npm_ "
                "r8_ pplx- tvly- lsv2_ sg. pypi- whsec_ ya29. dop_v1_",
                (
                    "sk_(?:live|test)_",
                    "rk_(?:live|test)_",
                    "akia[0-9a-z]{16}",
                    "asia[0-9a-z]{16}",
                    "ghp_",
                    "gho_",
                    "ghu_",
                    "ghs_",
                    "ghr_",
                    "github_pat_",
                    "glpat-",
                    "xox[abeoprs]-",
                    "aiza",
                    "hf_[a-z0-9]{20}",
                    "gsk_",
                    "xai-[a-z0-9]{20}",
                    "npm_[a-z0-9]{20}",
                    "r8_[a-z0-9]{20}",
                    "pplx-",
                    "tvly-",
                    "lsv2_",
                    r"sg\.[a-z0-9_-]{16}",
                    "pypi-[a-z0-9_-]{32}",
                    "whsec_",
                    r"ya29\.",
                    "dop_v1_",
                ),
            ),
            *(
                pattern
                for name, (literal, end) in SECRET_NAMES.items()
                for pattern in (
                    Pattern(f"(?i)({name}{_JSON_NUMBER}", "${1}${2}[key]${2}", literal, (end + _ASSIGNS,)),
                    Pattern(f"(?i)({name}{_ASSIGNED}", "${1}${2}${3}${4}[key]", literal, (end + _ASSIGNS,)),
                )
            ),
            # `pwd` is also the shell's working directory, which is no secret.
            Pattern(
                r"(?i)(\bpwd=)[^ \t\r\n\"'\\,;&)}</.~][^ \t\r\n\"'\\,;&)}<]{2,}",
                "${1}[key]",
                "pwd",
                ("pwd=[^/.~]",),
            ),
        ),
    ),
    Rule(
        "token",
        "JSON web tokens, bearer tokens and basic credentials",
        (
            Pattern(
                _START + r"eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*)*",
                "${1}[token]",
                "eyj",
                (r"eyj[a-z0-9_-]{5,}\.[a-z0-9_-]{5}",),
            ),
            # A digit or a great length tells a token from the word after "bearer" in a sentence.
            Pattern(
                r"(?i)(bearer[ \t]+)(?:[A-Za-z._~+/-]*[0-9][A-Za-z0-9._~+/-]{3,}|[A-Za-z._~+/-]{20,})=*",
                "${1}[token]",
                "bearer",
                (r"bearer[ \t]+[a-z0-9._~+/-]{4}",),
            ),
            Pattern(
                r"(?i)(authorization\\?[\"']?[ \t]*[:=][ \t]*\\?[\"']?(?:basic|bearer)[ \t]+)"
                r"[A-Za-z0-9._~+/-]+=*",
                "${1}[token]",
                "authorization",
                (r"authorization\\?[\"']?[ \t]*[:=]",),
            ),
        ),
    ),
    Rule(
        "email",
        "e-mail addresses, also with the `@` written `%40` as in URLs, and what JSON holds under the name of "
        'one (`"email": "…"`)',
        (
            *ADDRESSES,
            *_named(EMAIL_KEYS, "[email]", r"email(?:_address)?"),
        ),
    ),
    Rule(
        "card",
        "card numbers: 13 to 19 digits, in one piece or in groups with spaces or dashes, of a known issuer's "
        "range and with a valid check digit",
        (
            Pattern(
                _START + r"[2-6][0-9]{3}(?:[ -]?[0-9]){9,15}\b",
                "${1}[card]",
                hints=tuple(f"{first}[0-9]{{3}}(?:[ -]?[0-9]){{9}}" for first in "23456"),
            ),
        ),
        luhn=True,
    ),
    Rule(
        "phone",
        "phone numbers: international with a leading `+` or `00`, and national forms with separators "
        "(`(555) 123-4567`, `030 12345678`, `06 12 34 56 78`)",
        (
            Pattern(
                _BEFORE.replace("./+-", "+") + r"\+(?:"
                # +14155550123, +44 20 7946 0958, +1 (555) 123-4567, +49 (0)30/1234567
                r"[1-9](?:[ /-]?\(?[0-9]\)?){8,14}"
                # +1.555.123.4567; a number with one point is a decimal.
                r"|[1-9][0-9]{0,2}\.[0-9]{1,4}(?:\.[0-9]{2,4}){2,4})\b",
                "${1}[phone]",
                hints=(r"\+[1-9][0-9 ./()-]{7}",),
            ),
            Pattern(
                _BEFORE + r"(?:"
                # North America: (555) 123-4567, 555-123-4567, 1-555-123-4567, 555.123.4567
                r"(?:1[ .-])?(?:\([0-9]{3}\)[ -]?[0-9]{3}[ .-]|[0-9]{3}-[0-9]{3}[ .-]|[0-9]{3}\.[0-9]{3}\.)"
                r"[0-9]{4}"
                # Trunk 0: 030 12345678, 0171/1234567, (030) 1234 5678, 079 123 45 67
                r"|\(?0[1-9][0-9]{1,3}\)?(?:[ /-]| [/-] )"
                r"(?:[0-9]{6,9}|[0-9]{3,4}[ -][0-9]{3,4}|[0-9]{3}[ -][0-9]{2}[ -][0-9]{2})"
                # 03-1234-5678
                r"|0[1-9]-[0-9]{4}-[0-9]{4}"
                # Pairs: 06 12 34 56 78
                r"|0[1-9](?:(?: [0-9]{2}){4}|(?:\.[0-9]{2}){4}|(?:-[0-9]{2}){4})"
                # 0049 30 1234567
                r"|00[1-9][0-9]{0,2}[ -]\(?[0-9]{1,5}\)?[ /-][0-9]{3,8}(?:[ -][0-9]{2,5}){0,3}"
                # Brazil and China: (11) 91234-5678, 138-1234-5678
                r"|\([0-9]{2}\) ?9?[0-9]{4}-[0-9]{4}|1[3-9][0-9]-[0-9]{4}-[0-9]{4}"
                r")\b",
                "${1}[phone]",
                hints=(
                    r"\([0-9]{2,5}\)[ /-]{0,3}[0-9]{3}",
                    "-[0-9]{3}[ .-][0-9]{4}",
                    r"\.[0-9]{3}\.[0-9]{4}",
                    r"0[1-9][0-9]{1,3}\)?[ /-]{1,3}[0-9]{3}",
                    "0[1-9]-[0-9]{4}-",
                    "0[1-9](?: [0-9]{2}){4}",
                    r"0[1-9](?:\.[0-9]{2}){4}",
                    "0[1-9](?:-[0-9]{2}){4}",
                    r"00[1-9][0-9]{0,2}[ -]\(?[0-9]",
                    "1[3-9][0-9]-[0-9]{4}-",
                ),
            ),
        ),
    ),
)

# First digits and lengths of the card issuers' ranges (Visa, Mastercard, Amex, Diners, Discover, JCB,
# UnionPay, Maestro, Mir). Without them every tenth long number would pass the check digit; times in
# milli-, micro- and nanoseconds start with a 1 and are never cards.
CARD_RANGES: Final = (
    r"4(?:[0-9]{12}|[0-9]{15}|[0-9]{18})"
    r"|(?:5[1-5][0-9]{2}|222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}"
    r"|3[47][0-9]{13}"
    r"|3(?:0[0-5]|[689][0-9])[0-9]{11,16}"
    r"|(?:6011|64[4-9][0-9]|65[0-9]{2})[0-9]{12,15}"
    r"|35(?:2[89]|[3-8][0-9])[0-9]{12,15}"
    r"|62[0-9]{14,17}"
    r"|(?:50[0-9]{2}|5[6-8][0-9]{2}|6[0-9]{3})[0-9]{9,15}"
    r"|220[0-4][0-9]{12,15}"
)
