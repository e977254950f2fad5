-- Widened: SERIAL ends at two thousand million rows, and six decimals round a cheap cached token to nothing. Where a
-- view stands on a column, PostgreSQL refuses to change it: then it stays as it is rather than stopping the start.
DO $$
DECLARE
    change TEXT;
BEGIN
    FOREACH change IN ARRAY ARRAY[
        'ALTER TABLE metrics ALTER COLUMN id TYPE BIGINT, ALTER COLUMN total_cost TYPE NUMERIC(20, 9)',
        'ALTER TABLE events ALTER COLUMN id TYPE BIGINT',
        'ALTER SEQUENCE IF EXISTS metrics_id_seq AS BIGINT',
        'ALTER SEQUENCE IF EXISTS events_id_seq AS BIGINT'
    ] LOOP
        BEGIN
            EXECUTE change;
        EXCEPTION WHEN feature_not_supported THEN
            RAISE WARNING 'left as it was (%): %', SQLERRM, change;
        END;
    END LOOP;
END
$$;

-- The period that tokens_used_today belongs to, by its start in epoch milliseconds; none in a row that was adopted.
ALTER TABLE users
    ADD COLUMN IF NOT EXISTS disabled BOOLEAN NOT NULL DEFAULT FALSE,
    ADD COLUMN IF NOT EXISTS tokens_valid_from BIGINT,
    ADD COLUMN IF NOT EXISTS used_period BIGINT;

CREATE TABLE IF NOT EXISTS teams (
    team VARCHAR(255) PRIMARY KEY,
    daily_token_limit BIGINT,
    disabled BOOLEAN NOT NULL DEFAULT FALSE,
    created_at TIMESTAMP NOT NULL,
    updated_at TIMESTAMP NOT NULL
);

CREATE TABLE IF NOT EXISTS tokens (
    jti VARCHAR(255) PRIMARY KEY,
    user_id VARCHAR(255) NOT NULL,
    team VARCHAR(255),
    scope VARCHAR(50) NOT NULL,
    issued_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT,
    issued_by VARCHAR(255) NOT NULL
);
CREATE INDEX IF NOT EXISTS idx_tokens_user_id ON tokens(user_id);

-- One row for each request and attempt. Rows from before have no receipt_id.
ALTER TABLE metrics
    ADD COLUMN IF NOT EXISTS receipt_id VARCHAR(255),
    ADD COLUMN IF NOT EXISTS request_id VARCHAR(255),
    ADD COLUMN IF NOT EXISTS attempt BIGINT,
    ADD COLUMN IF NOT EXISTS session_id VARCHAR(255),
    ADD COLUMN IF NOT EXISTS model_requested VARCHAR(255),
    ADD COLUMN IF NOT EXISTS model_upstream VARCHAR(2048),
    ADD COLUMN IF NOT EXISTS route VARCHAR(50),
    ADD COLUMN IF NOT EXISTS status BIGINT,
    ADD COLUMN IF NOT EXISTS outcome VARCHAR(50),
    ADD COLUMN IF NOT EXISTS stop_reason VARCHAR(255),
    ADD COLUMN IF NOT EXISTS cache_write_1h_tokens BIGINT DEFAULT 0,
    ADD COLUMN IF NOT EXISTS charged_tokens BIGINT DEFAULT 0,
    ADD COLUMN IF NOT EXISTS period BIGINT,
    ADD COLUMN IF NOT EXISTS cost BIGINT,
    ADD COLUMN IF NOT EXISTS rates JSONB,
    ADD COLUMN IF NOT EXISTS priced BOOLEAN,
    ADD COLUMN IF NOT EXISTS estimated BOOLEAN,
    ADD COLUMN IF NOT EXISTS ttft_ms BIGINT;
CREATE UNIQUE INDEX IF NOT EXISTS idx_metrics_receipt_id ON metrics(receipt_id);

ALTER TABLE events
    ADD COLUMN IF NOT EXISTS event_id VARCHAR(255),
    ADD COLUMN IF NOT EXISTS actor VARCHAR(255);
CREATE UNIQUE INDEX IF NOT EXISTS idx_events_event_id ON events(event_id);

-- What was spent in each quota period: scope is "user" or "team".
CREATE TABLE IF NOT EXISTS counters (
    scope VARCHAR(4) NOT NULL,
    name VARCHAR(255) NOT NULL,
    period BIGINT NOT NULL,
    used BIGINT NOT NULL,
    PRIMARY KEY (scope, name, period)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- What requests in flight may still spend. A row counts until it expires; expires_at has no index, so that renewing
-- a row leaves the indexes alone.
CREATE TABLE IF NOT EXISTS reservations (
    id VARCHAR(255) PRIMARY KEY,
    holder VARCHAR(255) NOT NULL,
    user_id VARCHAR(255) NOT NULL,
    team VARCHAR(255),
    period BIGINT NOT NULL,
    tokens BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
CREATE INDEX IF NOT EXISTS idx_reservations_user ON reservations(user_id, period);
CREATE INDEX IF NOT EXISTS idx_reservations_team ON reservations(team, period);

-- Sums by day (UTC, of the start of the request), which outlive the rows they were made from. '' means none.
CREATE TABLE IF NOT EXISTS usage_daily (
    day DATE NOT NULL,
    user_id VARCHAR(255) NOT NULL,
    team VARCHAR(255) NOT NULL,
    model VARCHAR(255) NOT NULL,
    route VARCHAR(50) NOT NULL,
    requests BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    estimated BIGINT NOT NULL,
    unpriced BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cache_read_tokens BIGINT NOT NULL,
    cache_write_tokens BIGINT NOT NULL,
    charged_tokens BIGINT NOT NULL,
    cost BIGINT NOT NULL,
    PRIMARY KEY (day, user_id, team, model, route)
);
INSERT INTO usage_daily
SELECT COALESCE(created_at, CURRENT_TIMESTAMP)::DATE, user_id, COALESCE(team, ''), model, '', COUNT(*), 0, 0, 0,
       SUM(COALESCE(input_tokens, 0)), SUM(COALESCE(output_tokens, 0)), SUM(COALESCE(cache_read_tokens, 0)),
       SUM(COALESCE(cache_write_tokens, 0)), 0, ROUND(SUM(COALESCE(total_cost, 0)) * 1000000000)
FROM metrics GROUP BY 1, 2, 3, 4
ON CONFLICT DO NOTHING;

-- Which periods were reset, so that one replica writes it down and the others do not.
CREATE TABLE IF NOT EXISTS resets (
    period BIGINT PRIMARY KEY
);

-- Admission: takes its turn for the user, then for the team, and only then looks. Each statement in a volatile
-- function sees what was committed before it began, so whoever had the turn before is counted.
CREATE OR REPLACE FUNCTION bedrock_proxy_reserve(
    the_id TEXT, the_holder TEXT, the_user TEXT, the_team TEXT, the_period BIGINT, the_tokens BIGINT,
    the_end BIGINT, user_limit BIGINT, team_limit BIGINT, the_time BIGINT,
    OUT granted BOOLEAN, OUT user_used BIGINT, OUT user_reserved BIGINT, OUT team_used BIGINT,
    OUT team_reserved BIGINT
) LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF user_limit IS NOT NULL THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('user ' || the_user, 8081));
    END IF;
    IF team_limit IS NOT NULL AND the_team IS NOT NULL THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('team ' || the_team, 8081));
    END IF;
    SELECT
        COALESCE((SELECT c.used FROM counters c
                  WHERE c.scope = 'user' AND c.name = the_user AND c.period = the_period), 0),
        COALESCE((SELECT SUM(r.tokens) FROM reservations r
                  WHERE r.user_id = the_user AND r.period = the_period AND r.expires_at > the_time), 0),
        COALESCE((SELECT c.used FROM counters c
                  WHERE c.scope = 'team' AND c.name = the_team AND c.period = the_period), 0),
        COALESCE((SELECT SUM(r.tokens) FROM reservations r
                  WHERE r.team = the_team AND r.period = the_period AND r.expires_at > the_time), 0)
    INTO user_used, user_reserved, team_used, team_reserved;
    granted := (user_limit IS NULL OR user_used + user_reserved + the_tokens <= user_limit)
        AND (team_limit IS NULL OR the_team IS NULL OR team_used + team_reserved + the_tokens <= team_limit);
    IF granted THEN
        INSERT INTO reservations (id, holder, user_id, team, period, tokens, expires_at)
        VALUES (the_id, the_holder, the_user, the_team, the_period, the_tokens, the_end);
    END IF;
END
$$;
