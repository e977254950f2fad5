-- What a report is grouped by: the client program, and the client API. NULL in rows from before.
ALTER TABLE metrics ADD COLUMN client VARCHAR(50);
ALTER TABLE metrics ADD COLUMN client_api VARCHAR(50);

-- Cost of a period in nano-dollars; rows from before the current period stay at 0.
ALTER TABLE counters ADD COLUMN cost INTEGER NOT NULL DEFAULT 0;
UPDATE counters SET cost = spent.cost FROM (
    SELECT user_id AS name, period, CAST(SUM(COALESCE(cost, 0)) AS BIGINT) AS cost FROM metrics
    WHERE period = (SELECT MAX(period) FROM counters) GROUP BY user_id, period
) AS spent WHERE counters.scope = 'user' AND counters.name = spent.name AND counters.period = spent.period;
UPDATE counters SET cost = spent.cost FROM (
    SELECT team AS name, period, CAST(SUM(COALESCE(cost, 0)) AS BIGINT) AS cost FROM metrics
    WHERE period = (SELECT MAX(period) FROM counters) AND team IS NOT NULL GROUP BY team, period
) AS spent WHERE counters.scope = 'team' AND counters.name = spent.name AND counters.period = spent.period;

-- A removed or renamed user or team leaves its row, disabled, so that no token adds it again and history keeps its name.
-- removed_at is in epoch milliseconds; renamed_to is the name that tokens and late records of this name belong to.
ALTER TABLE users ADD COLUMN removed_at BIGINT;
ALTER TABLE users ADD COLUMN renamed_to VARCHAR(255);
ALTER TABLE teams ADD COLUMN removed_at BIGINT;
ALTER TABLE teams ADD COLUMN renamed_to VARCHAR(255);
CREATE INDEX IF NOT EXISTS idx_users_renamed ON users(user_id) WHERE renamed_to IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_teams_renamed ON teams(team) WHERE renamed_to IS NOT NULL;

-- Names that were erased, as keyed digests: a token with such a name does not add a user, and late records of it belong to
-- the pseudonym.
CREATE TABLE erased_names (
    digest VARCHAR(64) PRIMARY KEY,
    pseudonym VARCHAR(255) NOT NULL,
    erased_at BIGINT NOT NULL
);
