-- Several tokens of a user: a name, a limit of its own, and when it was used last.
ALTER TABLE tokens ADD COLUMN name VARCHAR(255);
ALTER TABLE tokens ADD COLUMN daily_token_limit BIGINT;
ALTER TABLE tokens ADD COLUMN last_used_at BIGINT;

-- What is rejected, for the copy that each process keeps.
CREATE INDEX idx_tokens_revoked_at ON tokens(revoked_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX idx_users_rejected ON users(user_id) WHERE disabled OR tokens_valid_from IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_users_team ON users(team);

-- The token of a request, if it has a limit of its own. In counters its scope is 'jti'.
ALTER TABLE reservations ADD COLUMN jti TEXT;
ALTER TABLE reservations ADD COLUMN token_used INTEGER NOT NULL DEFAULT 0;
ALTER TABLE reservations ADD COLUMN token_reserved INTEGER NOT NULL DEFAULT 0;
