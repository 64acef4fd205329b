SELECT ${bucket} AS time, uniqMerge(r.users) AS users, uniqMerge(r.sessions) AS sessions
FROM ${people_over_time} AS r
GROUP BY time
ORDER BY time;
