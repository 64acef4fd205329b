-- In the range.
SELECT
    uniqMerge(r.users) AS users,
    uniqMerge(r.sessions) AS sessions,
    sessions / nullIf(users, 0) AS sessions_per_user
FROM ${people} AS r;
