-- What the prices of a day's rows depend on, and the text by which number.sql finds it. Of `__other__` (guard's) the
-- model is not known any more: such rows stay as they are.
SELECT DISTINCT {key} AS key, toString(key) AS text
FROM agent_events
WHERE toDate(ts) = toDate({day:UInt16})
    AND cost_source IN ('computed', 'unpriced', 'reported') AND tokens_prompt + tokens_completion > 0
    AND provider != '__other__' AND model != '__other__';
