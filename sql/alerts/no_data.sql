-- For how many minutes no span began. 0 where none did in the whole time range: nobody uses it yet, or no longer.
SELECT
    if(count() = 0, 0, greatest(0, dateDiff('second', max(minute), $__toTime) / 60 - 1)) AS silent_minutes
FROM agent_metrics_1m_state
WHERE minute >= $__fromTime AND minute <= $__toTime;
