r"""What scrub drops, hashes and masks: the one place where its rules are listed.

Patterns stay within RE2's syntax (no look-around, no back-references), so that they mean the same in
polars (Rust), in Python and in an OpenTelemetry Collector (Go). What a pattern cannot look behind at, it
captures as ``${1}`` and puts back. ``\b`` is ASCII's word boundary, as in Go. The exception is ``card``,
whose candidates are also checked for their check digit (Luhn's), which no pattern can do.

The list in docs/security.md is checked against this file by a test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

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
    "ai.telemetry.metadata.userId",  # Vercel AI SDK
    "ai.telemetry.metadata.user_id",
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
SECRET_NAMES: Final = (
    r"(?:api|access|secret|private|auth|account|signing|encryption)[_ -]?key(?:[_-]?id)?",
    r"(?:client|app|api|consumer|webhook)[_-]?secret",
    r"(?:auth|access|refresh|session|id|api|bearer)[_-]?token",
    r"passw(?:or)?d",
    r"passphrase",
)

# Headers whose value is a secret: as the end of an attribute's key, also with _ for - as older conventions
# have it (`http.request.header.set_cookie`).
SECRET_HEADERS: Final = (r"header\.(?:proxy[-_])?authorization", r"header\.(?:set[-_])?cookie")


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that is masked inside any text.

    Attributes:
        name: label of the metric; `[name]` is the text that replaces what was found.
        about: one line for the documentation.
        literals: words, one of which (in whatever case) is in every match; '' for rules about numbers,
            whose matches have `DIGITS`. They are there for speed alone.
        patterns: (pattern, replacement), applied in order.
        luhn: whether the digits found must also pass the check of card numbers.
    """

    name: str
    about: str
    literals: str
    patterns: tuple[tuple[str, str], ...]
    luhn: bool = False


# Where something may start: not inside a word. The letter of an escape, as in `\\n`, is none: texts are
# full of quoted JSON and code.
_START: Final = r"(^|[^0-9A-Za-z_]|\\[nrt])"
# Where a phone number may start: not inside a path, a decimal number, a UUID or base64 either.
_BEFORE: Final = r"(^|[^0-9A-Za-z_./+-]|\\[nrt])"

# Something like this is in every match of a rule about numbers, also where the text is JSON and an escape
# such as \n stands before the number.
DIGITS: Final = (
    r"(?:^|[^0-9A-Za-z_./-]|\\[bfnrt]|\\u[0-9a-f]{4})[0-9(][0-9 ./()-]{8}"
    r"|\+[1-9][0-9 ./()-]{7}|[./-][2-6][0-9]{3}[0-9 -]{9}"
)

# name=value, name: value, "name": "value" and \"name\": \"value\". Values without quotes that start like
# null, None, true or false must be longer than these.
_ASSIGNED: Final = (
    r"\\?[\"']?[ \t]*(?::=?|=>?)[ \t]*)(?:(\")(?:[^\"\\]|\\.)+|(\\\")[^\"\\]+|(')(?:[^'\\]|\\.)+"
    r"|[^ \t\r\n\"'\\,;&)}<ntf][^ \t\r\n\"'\\,;&)}<]{2,}|[ntf][^ \t\r\n\"'\\,;&)}<]{5,})"
)
_DOMAIN: Final = r"(?:[0-9-]+|[\p{N}-]*\p{L}[\p{L}\p{N}-]*(?:\.[\p{L}\p{N}-]+)*)\.\p{L}{2,}"

RULES: Final = (
    Rule(
        "key",
        "private key blocks, passwords in URLs, tokens and signatures in their queries, API keys by their "
        'issuer\'s prefix, and values assigned to a secret\'s name (`password=…`, `"api_key": "…"`)',
        "key token secret passw passphrase pwd @ sig sk- sk_ rk_ akia asia ghp_ gho_ ghu_ ghs_ ghr_ "
        "github_pat_ glpat- xox aiza hf_ gsk_ xai- npm_ r8_ pplx- tvly- lsv2_ sg. pypi- whsec_ ya29. dop_v1_",
        (
            # PEM and PGP private keys; a block cut off before its end goes as far as it reaches.
            (
                r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----(?:-?[A-Za-z0-9+/=\\ \t\r\n:,.()@_])*"
                r"(?:-----END [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----)?",
                "[key]",
            ),
            # The password of `scheme://user:password@host`.
            (r"(://[^/ \t\r\n:@\"']*:)[^/ \t\r\n\"']+@", "${1}[key]@"),
            # What signs a URL, or opens what it names.
            (
                r"(?i)([?&](?:[a-z]+-[a-z]+-)?(?:token|key|sig|signature)=)[A-Za-z0-9._~%+/=-]{12,}",
                "${1}[key]",
            ),
            # OpenAI, Anthropic, OpenRouter, Langfuse and others that start with sk-.
            (
                _START + r"sk-(?:(?:ant|proj|svcacct|admin|or|lf|live|test)-[A-Za-z0-9_-]{8,}"
                r"|[A-Za-z0-9]{16,}[A-Za-z0-9_-]*)",
                "${1}[key]",
            ),
            # Stripe, AWS access key ids, GitHub, GitLab, Slack, Google, Hugging Face, Groq, xAI, npm,
            # Replicate, Perplexity, Tavily, LangSmith, SendGrid, PyPI, webhooks (Stripe, Svix), Google's
            # OAuth, DigitalOcean.
            (
                r"[sr]k_(?:live|test)_[A-Za-z0-9]{16,}|A(?:KIA|SIA)[0-9A-Z]{16}\b|gh[pousr]_[A-Za-z0-9]{20,}"
                r"|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}|xox[abeoprs]-[A-Za-z0-9-]{10,}"
                r"|AIza[0-9A-Za-z_-]{30,}|(?:hf_|gsk_|xai-|npm_|r8_|pplx-|tvly-(?:dev-|prod-)?)[A-Za-z0-9]{20,}"
                r"|lsv2_(?:pt|sk)_[A-Za-z0-9_]{20,}|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"
                r"|pypi-[A-Za-z0-9_-]{32,}|whsec_[A-Za-z0-9+/=]{20,}|ya29\.[A-Za-z0-9_-]{20,}|dop_v1_[0-9a-f]{32,}",
                "[key]",
            ),
            *((f"(?i)({name}{_ASSIGNED}", "${1}${2}${3}${4}[key]") for name in SECRET_NAMES),
            # `pwd` is also the shell's working directory, which is no secret.
            (r"(?i)(\bpwd=)[^ \t\r\n\"'\\,;&)}</.~][^ \t\r\n\"'\\,;&)}<]{2,}", "${1}[key]"),
        ),
    ),
    Rule(
        "token",
        "JSON web tokens, bearer tokens and basic credentials",
        "eyj bearer basic",
        (
            (_START + r"eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*)*", "${1}[token]"),
            # A digit or a great length tells a token from the word after "bearer" in a sentence.
            (
                r"(?i)(bearer[ \t]+)(?:[A-Za-z._~+/-]*[0-9][A-Za-z0-9._~+/-]{3,}|[A-Za-z._~+/-]{20,})=*",
                "${1}[token]",
            ),
            (
                r"(?i)(authorization\\?[\"']?[ \t]*[:=][ \t]*\\?[\"']?(?:basic|bearer)[ \t]+)"
                r"[A-Za-z0-9._~+/-]+=*",
                "${1}[token]",
            ),
        ),
    ),
    Rule(
        "email",
        "e-mail addresses, also with the `@` written `%40` as in URLs",
        "@ %40",
        (
            # A domain that starts with a number has one label only (163.com), or package@1.0.0-rc.x
            # would be an address.
            (rf"(\\[nrt])?[\p{{L}}\p{{N}}._%+-]+(?:'[\p{{L}}\p{{N}}._%+-]+)*@{_DOMAIN}", "${1}[email]"),
            (rf"[\p{{L}}\p{{N}}._+-]+%40{_DOMAIN}", "[email]"),
        ),
    ),
    Rule(
        "card",
        "card numbers: 13 to 19 digits, in one piece or in groups with spaces or dashes, of a known issuer's "
        "range and with a valid check digit",
        "",
        ((_START + r"[2-6][0-9]{3}(?:[ -]?[0-9]){9,15}\b", "${1}[card]"),),
        luhn=True,
    ),
    Rule(
        "phone",
        "phone numbers: international with a leading `+` or `00`, and national forms with separators "
        "(`(555) 123-4567`, `030 12345678`, `06 12 34 56 78`)",
        "",
        (
            (
                _BEFORE.replace("./+-", "+") + r"\+(?:"
                # +14155550123, +44 20 7946 0958, +1 (555) 123-4567, +49 (0)30/1234567
                r"[1-9](?:[ /-]?\(?[0-9]\)?){8,14}"
                # +1.555.123.4567; a number with one point is a decimal.
                r"|[1-9][0-9]{0,2}\.[0-9]{1,4}(?:\.[0-9]{2,4}){2,4})\b",
                "${1}[phone]",
            ),
            (
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
