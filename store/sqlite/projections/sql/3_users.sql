-- Users of this step, by their days. What is too long ago for any figure that is not sealed is left.
DELETE FROM step_user;

INSERT INTO step_user (block, app, user, days)
SELECT day / 31, app, user, 1 << day % 31
FROM (
    SELECT (at + 62135596800000000) / 86400000000 AS day, app, user
    FROM step
    WHERE user IS NOT NULL AND counts > 0 AND at + 29 * 86400000000 >= (SELECT sealed FROM log.log)
)
WHERE true ORDER BY 1, 2, 3
ON CONFLICT DO UPDATE SET days = days | excluded.days;

UPDATE step_user SET known = user_days.days, days = step_user.days & ~user_days.days
FROM user_days
WHERE user_days.block = step_user.block AND user_days.app = step_user.app
AND user_days.user = step_user.user;

DELETE FROM step_user WHERE days = 0;

INSERT INTO user_days SELECT block, app, user, days FROM step_user
WHERE true ORDER BY 1, 2, 3
ON CONFLICT DO UPDATE SET days = days | excluded.days;

-- A new day of a user's makes him active in each span that holds it, but for those in which he was
-- already. `around` has the days that were known around it: bit 29 is the day itself, which is not
-- among them, and several new ones take their turns from the first to the last. What is then
-- smeared over as many days as a span has says on which he was active before. (SQLite would put an
-- expression into the next one as often as that names it, if it were not for MATERIALIZED; and all
-- of its bit operators bind alike.)
INSERT INTO active
WITH new AS (
    SELECT step_user.*, day FROM step_user CROSS JOIN bit ON value = days
    UNION ALL
    SELECT step_user.*, day FROM step_user CROSS JOIN bit ON value & days WHERE days & (days - 1)
),
each_one AS MATERIALIZED (
    SELECT
        app, block * 31 + day AS day,
        (
            coalesce(
                (
                    SELECT before.days FROM user_days AS before
                    WHERE before.block = new.block - 1 AND before.app = new.app
                    AND before.user = new.user
                ),
                0
            ) >> (day + 2)
        )
        | ((known | (days & ((1 << day) - 1))) << (29 - day))
        | (
            coalesce(
                (
                    SELECT after.days & ~coalesce(newer.days, 0) FROM user_days AS after
                    LEFT JOIN step_user AS newer ON newer.block = after.block
                    AND newer.app = after.app AND newer.user = after.user
                    WHERE after.block = new.block + 1 AND after.app = new.app
                    AND after.user = new.user
                ),
                0
            ) << (60 - day)
        )
        AS around
    FROM new
),
alike AS MATERIALIZED (
    SELECT app, day, around & ((1 << 59) - 1) AS around, count(*) AS users
    FROM each_one GROUP BY 1, 2, 3
),
smeared_2 AS MATERIALIZED (
    SELECT app, day, users, around | (around << 1) AS days FROM alike
),
smeared_4 AS MATERIALIZED (
    SELECT app, day, users, days | (days << 2) AS days FROM smeared_2
),
smeared_8 AS MATERIALIZED (
    SELECT app, day, users, days | (days << 3) AS week, days | (days << 4) AS days FROM smeared_4
),
smeared_16 AS MATERIALIZED (
    SELECT app, day, users, week, days | (days << 8) AS days FROM smeared_8
),
gained AS MATERIALIZED (
    SELECT
        app, day, users, ~(week >> 29) & ((1 << 7) - 1) AS week,
        ~((days | (days << 14)) >> 29) & ((1 << 30) - 1) AS month
    FROM smeared_16
)
SELECT app, span, day, sum(users)
FROM (
    SELECT app, 1 AS span, day, users FROM alike
    UNION ALL
    SELECT app, 7, weeks.day + bit.day, weeks.users
    FROM (SELECT app, day, week, sum(users) AS users FROM gained GROUP BY 1, 2, 3) AS weeks
    JOIN bit ON value & week
    UNION ALL
    SELECT app, 30, months.day + bit.day, months.users
    FROM (SELECT app, day, month, sum(users) AS users FROM gained GROUP BY 1, 2, 3) AS months
    JOIN bit ON value & month
)
WHERE day >= (SELECT (sealed + 62135596800000000) / 86400000000 FROM log.log)
GROUP BY 1, 2, 3
ON CONFLICT DO UPDATE SET users = users + excluded.users;

-- What no figure needs any more goes, some at a time.
DELETE FROM user_days WHERE (block, app, user) IN (
    SELECT block, app, user FROM user_days
    WHERE block < (SELECT (sealed + 62135596800000000) / 86400000000 - 29 FROM log.log) / 31
    LIMIT 20000
);
