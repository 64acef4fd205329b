-- How fast each service spends its error budget: 1 spends just the whole of it over the objective's window. Fast and
-- slow burning are told by a long and a short window together, as Google's SRE workbook (chapter 5) has it: the short
-- one says that it still goes on.
SELECT
    service, five_minutes, one_hour, six_hours, three_days,
    multiIf(
        one_hour >= 14.4 AND five_minutes >= 14.4, 'burning fast',
        six_hours >= 6 AND one_hour >= 6, 'burning',
        three_days >= 1 AND six_hours >= 1, 'burning slowly',
        'ok'
    ) AS state
FROM
(
    SELECT
        if(s.service = '', '(none)', s.service) AS service,
        s.failed_5m / nullIf(s.requests_5m, 0) / (1 - o.availability) AS five_minutes,
        s.failed_1h / nullIf(s.requests_1h, 0) / (1 - o.availability) AS one_hour,
        s.failed_6h / nullIf(s.requests_6h, 0) / (1 - o.availability) AS six_hours,
        s.failed_3d / nullIf(s.requests_3d, 0) / (1 - o.availability) AS three_days
    FROM
    (
        SELECT *, if(service IN (SELECT service FROM objectives), service, '') AS held_to
        FROM
        (
            SELECT
                service,
                sumIf(calls, width = 60 AND time >= toStartOfMinute($__toTime) - INTERVAL 5 MINUTE) AS requests_5m,
                sumIf(errors, width = 60 AND time >= toStartOfMinute($__toTime) - INTERVAL 5 MINUTE) AS failed_5m,
                sumIf(calls, width = 60 AND time >= toStartOfMinute($__toTime) - INTERVAL 1 HOUR) AS requests_1h,
                sumIf(errors, width = 60 AND time >= toStartOfMinute($__toTime) - INTERVAL 1 HOUR) AS failed_1h,
                sumIf(calls, width = 60) AS requests_6h,
                sumIf(errors, width = 60) AS failed_6h,
                sumIf(calls, width = 3600) AS requests_3d,
                sumIf(errors, width = 3600) AS failed_3d
            FROM
            (
                SELECT service, minute AS time, 60 AS width, calls, errors
                FROM agent_metrics_1m_state
                WHERE entry AND minute >= toStartOfMinute($__toTime) - INTERVAL 6 HOUR AND minute <= $__toTime
                    AND ${filters}
                UNION ALL
                SELECT service, hour AS time, 3600 AS width, calls, errors
                FROM agent_metrics_1h_state
                WHERE entry AND hour > $__toTime - INTERVAL 3 DAY AND hour <= $__toTime AND ${filters}
            )
            GROUP BY service
        )
    ) AS s
    INNER JOIN objectives AS o ON o.service = s.held_to
)
ORDER BY greatest(ifNull(one_hour, 0), ifNull(six_hours, 0), ifNull(three_days, 0)) DESC, service;
