-- Rows that are too old are found by these. Rows of an earlier program, which stay, are in none of them.
CREATE INDEX IF NOT EXISTS idx_metrics_retention ON metrics(created_at) WHERE receipt_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_events_retention ON events(created_at) WHERE event_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_counters_period ON counters(period);
CREATE INDEX IF NOT EXISTS idx_tokens_expires_at ON tokens(expires_at);
