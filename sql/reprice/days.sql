-- Days that have rows with usage, between two (both included).
SELECT toUInt16(toDate(ts)) AS day, count() AS calls, countIf('__other__' IN (provider, model)) AS nameless
FROM agent_events
WHERE toDate(ts) BETWEEN toDate({first_day:UInt16}) AND toDate({last_day:UInt16})
    AND cost_source IN ('computed', 'unpriced', 'reported') AND tokens_prompt + tokens_completion > 0
GROUP BY day
ORDER BY day;
