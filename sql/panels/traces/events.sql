-- Exceptions and other events of the trace's spans.
SELECT
    event_ts AS at,
    event AS event,
    span.name AS span,
    span.service AS service,
    arrayStringConcat(arrayMap((k, v) -> concat(k, '=', v), mapKeys(event_attrs), mapValues(event_attrs)), '  ') AS attributes
FROM agent_events AS span
ARRAY JOIN events.ts AS event_ts, events.name AS event, events.attrs AS event_attrs
WHERE trace_id = lower(trimBoth(${trace_id:singlequote}))
ORDER BY at, span
LIMIT 1000;
