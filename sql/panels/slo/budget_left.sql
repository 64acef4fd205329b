-- What is left of the error budget of the service that has least, over 30 days.
SELECT minOrNull(1 - s.failed / s.requests / (1 - o.availability)) AS budget_left
FROM
(
    SELECT *, if(service IN (SELECT service FROM objectives), service, '') AS held_to
    FROM
    (
        SELECT service, sum(calls) AS requests, sum(errors) AS failed
        FROM agent_metrics_1h_state
        WHERE entry AND hour > $__toTime - INTERVAL 30 DAY AND hour <= $__toTime AND ${filters}
        GROUP BY service
    )
) AS s
INNER JOIN objectives AS o ON o.service = s.held_to;
