-- What a cache holds is part of the input.
SELECT
    ${bucket} AS time,
    60 * (toInt64(sum(tokens_prompt)) - sum(tokens_cache_read) - sum(tokens_cache_write)) / ${seconds} AS input,
    60 * sum(tokens_cache_read) / ${seconds} AS cache_read,
    60 * sum(tokens_cache_write) / ${seconds} AS cache_write,
    60 * sum(tokens_completion) / ${seconds} AS output
FROM ${rollup_over_time}
GROUP BY time
ORDER BY time;
