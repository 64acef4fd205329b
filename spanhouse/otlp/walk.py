"""The walk over the payloads' bytes: `count` sizes the arrays, `fill` writes offsets, views and numbers.

String values are written as Arrow string views that point into the payloads' own bytes (buffer 0) or
into the text that the walk itself writes (buffer 1: hex ids, numbers, base64, JSON). All views lie in
the array that `state` describes; the columns are slices of it. Payloads are only ever read within bounds
that were checked; a payload that cannot be read gets its error in `status` and its rows are worthless
(the caller decodes again without it).
"""

from __future__ import annotations

from spanhouse.otlp.attributes import attribute, put_id, put_string
from spanhouse.otlp.state import (
    BAD,
    BAD_ATTRIBUTES,
    BAD_EVENTS,
    BAD_LINKS,
    BAD_NAME,
    BAD_RESOURCE,
    BAD_SCOPE,
    BAD_STATUS,
    BAD_TRACE_STATE,
    DROPPED,
    EVENT,
    EVENT_DROPPED,
    EVENT_NAME,
    EVENT_OFFSETS,
    EVENT_TIME,
    EVENTS,
    FLAGS,
    KIND,
    LINK,
    LINK_DROPPED,
    LINK_FLAGS,
    LINK_OFFSETS,
    LINK_SPAN_ID,
    LINK_TRACE_ID,
    LINK_TRACE_STATE,
    LINKS,
    MANY_ATTRIBUTES,
    MANY_RESOURCE,
    MANY_SCOPE,
    MAX_ATTRIBUTES,
    NAME,
    OFFSETS,
    PARENT_SPAN_ID,
    PAYLOAD,
    RESOURCE,
    RESOURCE_BAD,
    RESOURCE_DROPPED,
    RESOURCE_URL,
    RESOURCES,
    SCOPE,
    SCOPE_BAD,
    SCOPE_DROPPED,
    SCOPE_INDEX,
    SCOPE_NAME,
    SCOPE_RESOURCE,
    SCOPE_URL,
    SCOPE_VERSION,
    SCOPES,
    SPAN,
    SPAN_ID,
    SPANS,
    START,
    STATUS_CODE,
    STATUS_MESSAGE,
    TRACE_ID,
    TRACE_STATE,
)
from spanhouse.otlp.wire import (
    UNUSUAL,
    Bytes,
    Ints,
    entry,
    int64,
    kernel,
    length,
    load64,
    pointer,
    skip,
    tag,
    varint,
)


@kernel
def _event(a: Bytes, p: int, end: int, w: Ints, text: Bytes) -> int:
    # Returns 1 if it is not UTF-8, an error, or 0.
    n = w[EVENTS]
    w[EVENTS] = n + 1
    name, name_end, time, dropped, result = p, p, int64(0), int64(0), 0
    while p < end:
        t, p = tag(a, p, end)
        if p < 0:
            return p
        if t == 9 and end - p >= 8:
            time = load64(a, p)
            p += 8
        elif t == 18 or t == 26:
            start, p = length(a, p, end)
            if start < 0:
                return start
            if t == 18:
                name, name_end = start, p
            else:
                code = attribute(a, start, p, EVENT, n, w, text)
                if code < 0:
                    return code
                result |= code
        elif t == 32:
            dropped, p = varint(a, p, end)
        else:
            p = skip(a, p, end, t, 4)
        if p < 0:
            return p
    if not put_string(w[EVENT_NAME] + 2 * n, a, name, name_end, w, text):
        result = 1
    w[w[EVENT_TIME] + n] = time
    w[w[EVENT_DROPPED] + n] = dropped
    w[w[OFFSETS + EVENT] + n + 1] = w[EVENT]
    return result


@kernel
def _link(a: Bytes, p: int, end: int, w: Ints, text: Bytes) -> int:
    # Returns 1 if it is not UTF-8, an error, or 0.
    n = w[LINKS]
    w[LINKS] = n + 1
    trace, trace_end, span, span_end, state, state_end = p, p, p, p, p, p
    dropped, flags, result = int64(0), int64(0), 0
    while p < end:
        t, p = tag(a, p, end)
        if p < 0:
            return p
        if t == 10 or t == 18 or t == 26 or t == 34:
            start, p = length(a, p, end)
            if start < 0:
                return start
            if t == 10:
                trace, trace_end = start, p
            elif t == 18:
                span, span_end = start, p
            elif t == 26:
                state, state_end = start, p
            else:
                code = attribute(a, start, p, LINK, n, w, text)
                if code < 0:
                    return code
                result |= code
        elif t == 40:
            dropped, p = varint(a, p, end)
        elif t == 53 and end - p >= 4:
            flags = load64(a, p) & 0xFFFFFFFF
            p += 4
        else:
            p = skip(a, p, end, t, 4)
        if p < 0:
            return p
    put_id(w[LINK_TRACE_ID] + 2 * n, a, trace, trace_end, w, text)
    put_id(w[LINK_SPAN_ID] + 2 * n, a, span, span_end, w, text)
    if not put_string(w[LINK_TRACE_STATE] + 2 * n, a, state, state_end, w, text):
        result = 1
    w[w[LINK_DROPPED] + n] = dropped
    w[w[LINK_FLAGS] + n] = flags
    w[w[OFFSETS + LINK] + n + 1] = w[LINK]
    return result


@kernel
def _status(a: Bytes, p: int, end: int, row: int, w: Ints, text: Bytes) -> int:
    # Returns 1 if the message is not UTF-8, an error, or 0.
    message, message_end, code = p, p, int64(0)
    while p < end:
        t, p = tag(a, p, end)
        if p < 0:
            return p
        if t == 18:
            message, p = length(a, p, end)
            if message < 0:
                return message
            message_end = p
        elif t == 24:
            code, p = varint(a, p, end)
        else:
            p = skip(a, p, end, t, 4)
        if p < 0:
            return p
    w[w[STATUS_CODE] + row] = code
    return 0 if put_string(w[STATUS_MESSAGE] + 2 * row, a, message, message_end, w, text) else 1


@kernel
def _span(a: Bytes, p: int, end: int, payload: int, scope: int, w: Ints, text: Bytes) -> int:
    row = w[SPANS]
    w[SPANS] = row + 1
    trace, trace_end, span, span_end, parent, parent_end = p, p, p, p, p, p
    state, state_end, name, name_end = p, p, p, p
    for section in range(START, EVENT_OFFSETS):
        w[w[section] + row] = 0
    at = w[STATUS_MESSAGE] + 2 * row
    w[at] = w[at + 1] = 0
    attributes, bad, has_status = 0, 0, False
    while p < end:
        t, p = tag(a, p, end)
        if p < 0:
            return p
        if t == 74 or t == 90 or t == 106 or t == 122:
            start, p = length(a, p, end)
            if start < 0:
                return start
            if t == 74:
                attributes += 1
                if attributes > MAX_ATTRIBUTES:
                    bad = MANY_ATTRIBUTES
                    continue
            elif t == 122:
                if has_status:
                    return UNUSUAL
                has_status = True
            if t == 74:
                code, why = attribute(a, start, p, SPAN, row, w, text), BAD_ATTRIBUTES
            elif t == 90:
                code, why = _event(a, start, p, w, text), BAD_EVENTS
            elif t == 106:
                code, why = _link(a, start, p, w, text), BAD_LINKS
            else:
                code, why = _status(a, start, p, row, w, text), BAD_STATUS
            if code < 0:
                return code
            if code > 0 and bad == 0:
                bad = why
        elif t == 10 or t == 18 or t == 26 or t == 34 or t == 42:
            start, p = length(a, p, end)
            if start < 0:
                return start
            if t == 10:
                trace, trace_end = start, p
            elif t == 18:
                span, span_end = start, p
            elif t == 26:
                state, state_end = start, p
            elif t == 34:
                parent, parent_end = start, p
            else:
                name, name_end = start, p
        elif (t == 57 or t == 65) and end - p >= 8:
            w[w[START + ((t - 57) >> 3)] + row] = load64(a, p)
            p += 8
        elif t == 48 or t == 80 or t == 96 or t == 112:
            value, p = varint(a, p, end)
            if p < 0:
                return p
            if t == 48:
                w[w[KIND] + row] = value
            else:
                w[w[DROPPED + ((t - 80) >> 4)] + row] = value
        elif t == 133 and end - p >= 4:
            w[w[FLAGS] + row] = load64(a, p) & 0xFFFFFFFF
            p += 4
        else:
            p = skip(a, p, end, t, 3)
            if p < 0:
                return p
    put_id(w[TRACE_ID] + 2 * row, a, trace, trace_end, w, text)
    put_id(w[SPAN_ID] + 2 * row, a, span, span_end, w, text)
    put_id(w[PARENT_SPAN_ID] + 2 * row, a, parent, parent_end, w, text)
    if not put_string(w[TRACE_STATE] + 2 * row, a, state, state_end, w, text) and bad == 0:
        bad = BAD_TRACE_STATE
    if not put_string(w[NAME] + 2 * row, a, name, name_end, w, text) and bad == 0:
        bad = BAD_NAME
    if bad == 0:
        bad = w[w[SCOPE_BAD] + scope]
    w[w[BAD] + row], w[w[PAYLOAD] + row], w[w[SCOPE_INDEX] + row] = bad, payload, scope
    w[w[OFFSETS + SPAN] + row + 1] = w[SPAN]
    w[w[EVENT_OFFSETS] + row + 1] = w[EVENTS]
    w[w[LINK_OFFSETS] + row + 1] = w[LINKS]
    return 0


@kernel
def _scope(a: Bytes, p: int, end: int, n: int, w: Ints, text: Bytes) -> int:
    # An InstrumentationScope. Returns a code of REASONS, an error, or 0.
    name, name_end, version, version_end = p, p, p, p
    attributes, bad = 0, 0
    while p < end:
        t, p = tag(a, p, end)
        if p < 0:
            return p
        if t == 10 or t == 18 or t == 26:
            start, p = length(a, p, end)
            if start < 0:
                return start
            if t == 10:
                name, name_end = start, p
            elif t == 18:
                version, version_end = start, p
            elif attributes == MAX_ATTRIBUTES:
                bad = MANY_SCOPE
            else:
                attributes += 1
                code = attribute(a, start, p, SCOPE, n, w, text)
                if code < 0:
                    return code
                if code > 0:
                    bad = BAD_SCOPE
        elif t == 32:
            w[w[SCOPE_DROPPED] + n], p = varint(a, p, end)
        else:
            p = skip(a, p, end, t, 3)
        if p < 0:
            return p
    if not put_string(w[SCOPE_NAME] + 2 * n, a, name, name_end, w, text):
        bad = BAD_SCOPE
    if not put_string(w[SCOPE_VERSION] + 2 * n, a, version, version_end, w, text):
        bad = BAD_SCOPE
    return bad


@kernel
def _resource(a: Bytes, p: int, end: int, n: int, w: Ints, text: Bytes) -> int:
    # A Resource. Returns a code of REASONS, an error, or 0.
    attributes, bad = 0, 0
    while p < end:
        t, p = tag(a, p, end)
        if p < 0:
            return p
        if t == 10:
            start, p = length(a, p, end)
            if start < 0:
                return start
            if attributes == MAX_ATTRIBUTES:
                bad = MANY_RESOURCE
                continue
            attributes += 1
            code = attribute(a, start, p, RESOURCE, n, w, text)
            if code < 0:
                return code
            if code > 0:
                bad = BAD_RESOURCE
        elif t == 16:
            w[w[RESOURCE_DROPPED] + n], p = varint(a, p, end)
        else:
            p = skip(a, p, end, t, 2)
        if p < 0:
            return p
    return bad


@kernel
def _find_header(a: Bytes, p: int, end: int, depth: int) -> tuple[int, int, int, int, int]:
    # Fields 1 and 3 of a ResourceSpans or ScopeSpans, wherever they stand:
    # (error or 0, start and end of the message, -1 and 0 if it has none, start and end of the schema URL).
    start, stop, url, url_end = int64(-1), int64(0), p, p
    while p < end:
        t, p = tag(a, p, end)
        if p < 0:
            return p, start, stop, url, url_end
        if t == 10:
            if start >= 0:
                return UNUSUAL, start, stop, url, url_end
            start, p = length(a, p, end)
            if start < 0:
                return start, start, stop, url, url_end
            stop = p
        elif t == 26:
            url, p = length(a, p, end)
            if url < 0:
                return url, start, stop, url, url_end
            url_end = p
        else:
            p = skip(a, p, end, t, depth)
            if p < 0:
                return p, start, stop, url, url_end
    return 0, start, stop, url, url_end


@kernel
def _open_scope(a: Bytes, p: int, end: int, resource: int, w: Ints, text: Bytes) -> int:
    # What a ScopeSpans says of its spans. Returns an error or 0.
    n = w[SCOPES]
    w[SCOPES] = n + 1
    w[w[SCOPE_DROPPED] + n] = 0
    w[w[SCOPE_RESOURCE] + n] = resource
    error, start, stop, url, url_end = _find_header(a, p, end, 2)
    if error != 0:
        return error
    bad = _scope(a, max(start, 0), stop, n, w, text)
    if bad < 0:
        return bad
    if not put_string(w[SCOPE_URL] + 2 * n, a, url, url_end, w, text):
        bad = BAD_SCOPE
    w[w[SCOPE_BAD] + n] = bad if bad != 0 else w[w[RESOURCE_BAD] + resource]
    w[w[OFFSETS + SCOPE] + n + 1] = w[SCOPE]
    return 0


@kernel
def _open_resource(a: Bytes, p: int, end: int, w: Ints, text: Bytes) -> int:
    # What a ResourceSpans says of its spans. Returns an error or 0.
    n = w[RESOURCES]
    w[RESOURCES] = n + 1
    w[w[RESOURCE_DROPPED] + n] = 0
    error, start, stop, url, url_end = _find_header(a, p, end, 1)
    if error != 0:
        return error
    bad = _resource(a, max(start, 0), stop, n, w, text)
    if bad < 0:
        return bad
    if not put_string(w[RESOURCE_URL] + 2 * n, a, url, url_end, w, text):
        bad = BAD_RESOURCE
    w[w[RESOURCE_BAD] + n] = bad
    w[w[OFFSETS + RESOURCE] + n + 1] = w[RESOURCE]
    return 0


@kernel
def _next(a: Bytes, p: int, end: int, t: int, depth: int) -> tuple[int, int]:
    # The next field with the tag `t`, of a message that `count` has read: (start or -1, end).
    while p < end:
        found, p = tag(a, p, end)
        if found == t:
            return length(a, p, end)
        p = skip(a, p, end, found, depth)
    return -1, p


@entry
def fill(arena: Bytes, bounds: Ints, status: Ints, state: Ints, text_array: Bytes) -> None:
    """Decode the payloads that `count` could read into `state` and the text."""
    # One function for all levels, as numba compiles all that is below once more for each function.
    a, w, text = pointer(arena), pointer(state), pointer(text_array)
    for i in range(len(status)):
        if status[i] != 0:
            continue
        error, end = 0, bounds[i + 1]
        resource, resource_end = _next(a, bounds[i], end, 10, 0)
        while resource >= 0 and error == 0:
            error = _open_resource(a, resource, resource_end, w, text)
            scope, scope_end = _next(a, resource, resource_end, 18, 1)
            while scope >= 0 and error == 0:
                error = _open_scope(a, scope, scope_end, w[RESOURCES] - 1, w, text)
                span, span_end = _next(a, scope, scope_end, 18, 2)
                while span >= 0 and error == 0:
                    error = _span(a, span, span_end, i, w[SCOPES] - 1, w, text)
                    span, span_end = _next(a, span_end, scope_end, 18, 2)
                scope, scope_end = _next(a, scope_end, resource_end, 18, 1)
            resource, resource_end = _next(a, resource_end, end, 10, 0)
        status[i] = error
