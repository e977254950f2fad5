-- Rows that are too old are found by these. Rows of an earlier program, which stay, are in none of them.
CREATE INDEX IF NOT EXISTS idx_metrics_retention ON metrics(created_at) WHERE receipt_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_events_retention ON events(created_at) WHERE event_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_counters_period ON counters(period);
CREATE INDEX IF NOT EXISTS idx_tokens_expires_at ON tokens(expires_at);

-- The daily sums of the rows of an earlier program, as PostgreSQL has them since 0002. Times that SQLite cannot read
-- count as of today.
INSERT INTO usage_daily (day, user_id, team, model, route, requests, failed, estimated, unpriced, input_tokens,
                         output_tokens, cache_read_tokens, cache_write_tokens, charged_tokens, cost)
SELECT COALESCE(date(created_at), date('now')), CAST(user_id AS TEXT), CAST(COALESCE(team, '') AS TEXT),
       CAST(model AS TEXT), '', COUNT(*), 0, 0, 0,
       CAST(SUM(COALESCE(input_tokens, 0)) AS INTEGER), CAST(SUM(COALESCE(output_tokens, 0)) AS INTEGER),
       CAST(SUM(COALESCE(cache_read_tokens, 0)) AS INTEGER), CAST(SUM(COALESCE(cache_write_tokens, 0)) AS INTEGER),
       0, CAST(ROUND(SUM(COALESCE(total_cost, 0)) * 1000000000) AS INTEGER)
FROM metrics WHERE receipt_id IS NULL GROUP BY 1, 2, 3, 4
ON CONFLICT (day, user_id, team, model, route) DO UPDATE SET
    requests = requests + excluded.requests,
    input_tokens = input_tokens + excluded.input_tokens,
    output_tokens = output_tokens + excluded.output_tokens,
    cache_read_tokens = cache_read_tokens + excluded.cache_read_tokens,
    cache_write_tokens = cache_write_tokens + excluded.cache_write_tokens,
    cost = cost + excluded.cost;
