-- Of the users with a request in the range, the share of whom one failed.
SELECT
    count() AS users,
    countIf(failed) AS with_a_failed_request,
    with_a_failed_request / nullIf(users, 0) AS share
FROM
(
    SELECT max(status = 'error') AS failed
    FROM agent_events
    WHERE $__timeFilter(ts) AND ${filters} AND user_id_hash != '' AND entry
    GROUP BY user_id_hash
);
