-- At each hour's end what was left then of the error budget of the 30 days before it.
SELECT
    least(s.hour + INTERVAL 1 HOUR, $__toTime) AS time,
    if(s.service = '', '(none)', s.service) AS name,
    1 - s.failed_30d / s.requests_30d / (1 - o.availability) AS budget_left
FROM
(
    SELECT *, if(service IN (SELECT service FROM objectives), service, '') AS held_to
    FROM
    (
        SELECT
            hour, service,
            sum(requests) OVER days AS requests_30d,
            sum(failed) OVER days AS failed_30d
        FROM
        (
            SELECT hour, service, sum(calls) AS requests, sum(errors) AS failed
            FROM agent_metrics_1h_state
            WHERE entry AND hour > $__fromTime - INTERVAL 31 DAY AND hour < $__toTime AND ${filters}
            GROUP BY hour, service
        )
        WINDOW days AS
        (
            PARTITION BY service ORDER BY toUnixTimestamp(hour) RANGE BETWEEN 2588400 PRECEDING AND CURRENT ROW
        )
    )
    WHERE hour >= $__fromTime - INTERVAL 1 HOUR
) AS s
INNER JOIN objectives AS o ON o.service = s.held_to
ORDER BY time, name;
