-- Errors a minute; beyond the eight most frequent types all are one.
WITH top AS
(
    SELECT error
    FROM ${table:failed}
    GROUP BY error
    ORDER BY count() DESC, error
    LIMIT 8
)
SELECT time, series AS error, 60 * count() / ${seconds} AS errors
FROM
(
    SELECT ${bucket} AS time, if(error IN (SELECT error FROM top), error, 'other') AS series
    FROM (SELECT toDateTime(time, 'UTC') AS time, error FROM ${table:failed})
)
GROUP BY time, error
ORDER BY time, error;
