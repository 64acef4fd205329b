-- Which routes eat the error budget: errors in the range as a share of what the service may have in 30 days at the
-- rate of requests of the 30 days before the end of the range.
SELECT
    if(s.service = '', '(none)', s.service) AS service,
    if(s.route = '', '(none)', s.route) AS route,
    s.requests AS requests,
    s.failed AS failed,
    s.failed / s.requests AS error_rate,
    s.failed / sum(s.failed) OVER (PARTITION BY s.service) AS of_the_errors,
    s.failed / ((1 - o.availability) * s.requests_30d) AS budget_eaten
FROM
(
    SELECT *, if(service IN (SELECT service FROM objectives), service, '') AS held_to
    FROM
    (
        SELECT service, route, requests, failed, sum(requests_30d) OVER (PARTITION BY service) AS requests_30d
        FROM
        (
            SELECT service, route, sum(requests) AS requests, sum(failed) AS failed, sum(requests_30d) AS requests_30d
            FROM
            (
                SELECT service, route, sum(calls) AS requests, sum(errors) AS failed, 0 AS requests_30d
                FROM ${rollup}
                WHERE entry
                GROUP BY service, route
                UNION ALL
                SELECT service, route, 0, 0, sum(calls)
                FROM agent_metrics_1h_state
                WHERE entry AND hour > $__toTime - INTERVAL 30 DAY AND hour <= $__toTime AND ${filters}
                GROUP BY service, route
            )
            GROUP BY service, route
        )
    )
    WHERE failed > 0
) AS s
INNER JOIN objectives AS o ON o.service = s.held_to
ORDER BY budget_eaten DESC, service, route
LIMIT 50;
