SELECT s.time AS time, if(s.service = '', '(none)', s.service) AS name, s.failed / s.requests / (1 - o.availability) AS burn
FROM
(
    SELECT *, if(service IN (SELECT service FROM objectives), service, '') AS held_to
    FROM
    (
        SELECT ${bucket} AS time, service, sum(calls) AS requests, sum(errors) AS failed
        FROM ${rollup_over_time}
        WHERE entry
        GROUP BY time, service
    )
) AS s
INNER JOIN objectives AS o ON o.service = s.held_to
ORDER BY time, name;
