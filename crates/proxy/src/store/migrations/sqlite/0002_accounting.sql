-- Nothing to widen here: SQLite's integers have 64 bits and its decimals are floating; the exact cost is in `cost`.

-- The period that tokens_used_today belongs to, by its start in epoch milliseconds; none in a row that was adopted.
ALTER TABLE users ADD COLUMN disabled BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE users ADD COLUMN tokens_valid_from BIGINT;
ALTER TABLE users ADD COLUMN used_period BIGINT;

CREATE TABLE teams (
    team VARCHAR(255) PRIMARY KEY,
    daily_token_limit BIGINT,
    disabled BOOLEAN NOT NULL DEFAULT FALSE,
    created_at TIMESTAMP NOT NULL,
    updated_at TIMESTAMP NOT NULL
);

CREATE TABLE tokens (
    jti VARCHAR(255) PRIMARY KEY,
    user_id VARCHAR(255) NOT NULL,
    team VARCHAR(255),
    scope VARCHAR(50) NOT NULL,
    issued_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT,
    issued_by VARCHAR(255) NOT NULL
);
CREATE INDEX idx_tokens_user_id ON tokens(user_id);

-- One row for each request and attempt. Rows from before have no receipt_id.
ALTER TABLE metrics ADD COLUMN receipt_id VARCHAR(255);
ALTER TABLE metrics ADD COLUMN request_id VARCHAR(255);
ALTER TABLE metrics ADD COLUMN attempt BIGINT;
ALTER TABLE metrics ADD COLUMN session_id VARCHAR(255);
ALTER TABLE metrics ADD COLUMN model_requested VARCHAR(255);
ALTER TABLE metrics ADD COLUMN model_upstream VARCHAR(2048);
ALTER TABLE metrics ADD COLUMN route VARCHAR(50);
ALTER TABLE metrics ADD COLUMN status BIGINT;
ALTER TABLE metrics ADD COLUMN outcome VARCHAR(50);
ALTER TABLE metrics ADD COLUMN stop_reason VARCHAR(255);
ALTER TABLE metrics ADD COLUMN cache_write_1h_tokens BIGINT DEFAULT 0;
ALTER TABLE metrics ADD COLUMN charged_tokens BIGINT DEFAULT 0;
ALTER TABLE metrics ADD COLUMN period BIGINT;
ALTER TABLE metrics ADD COLUMN cost BIGINT;
ALTER TABLE metrics ADD COLUMN rates TEXT;
ALTER TABLE metrics ADD COLUMN priced BOOLEAN;
ALTER TABLE metrics ADD COLUMN estimated BOOLEAN;
ALTER TABLE metrics ADD COLUMN ttft_ms BIGINT;
CREATE UNIQUE INDEX idx_metrics_receipt_id ON metrics(receipt_id);

ALTER TABLE events ADD COLUMN event_id VARCHAR(255);
ALTER TABLE events ADD COLUMN actor VARCHAR(255);
CREATE UNIQUE INDEX idx_events_event_id ON events(event_id);

-- What was spent in each quota period: scope is "user" or "team".
CREATE TABLE counters (
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    period INTEGER NOT NULL,
    used INTEGER NOT NULL,
    PRIMARY KEY (scope, name, period)
) STRICT, WITHOUT ROWID;

-- What requests in flight may still spend. A row counts until it expires. The last four columns are what each scope
-- had used and reserved before the row was admitted: the way for one statement to decide and to tell. There is no index
-- beside the key: looking through the few requests in flight costs less than keeping one.
CREATE TABLE reservations (
    id TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    user_id TEXT NOT NULL,
    team TEXT,
    period INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    user_used INTEGER NOT NULL,
    user_reserved INTEGER NOT NULL,
    team_used INTEGER NOT NULL,
    team_reserved INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Sums by day (UTC, of the start of the request), which outlive the rows they were made from. '' means none.
CREATE TABLE usage_daily (
    day TEXT NOT NULL,
    user_id TEXT NOT NULL,
    team TEXT NOT NULL,
    model TEXT NOT NULL,
    route TEXT NOT NULL,
    requests INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    estimated INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    charged_tokens INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    PRIMARY KEY (day, user_id, team, model, route)
) STRICT, WITHOUT ROWID;

-- Which periods were reset, so that it is written down once.
CREATE TABLE resets (
    period INTEGER PRIMARY KEY
) STRICT;
