-- Distinct users of the 24 hours, 7 and 30 days before the end of the range.
SELECT
    (SELECT uniqMerge(users) FROM ${people_of_a_day}) AS daily,
    (SELECT uniqMerge(users) FROM ${people_of_a_week}) AS weekly,
    (SELECT uniqMerge(users) FROM ${people_of_a_month}) AS monthly,
    daily / nullIf(monthly, 0) AS stickiness;
