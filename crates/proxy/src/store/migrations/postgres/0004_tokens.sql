-- Several tokens of a user: a name, a limit of its own, and when it was used last.
ALTER TABLE tokens
    ADD COLUMN IF NOT EXISTS name VARCHAR(255),
    ADD COLUMN IF NOT EXISTS daily_token_limit BIGINT,
    ADD COLUMN IF NOT EXISTS last_used_at BIGINT;

-- What is rejected, for the copy that each process keeps.
CREATE INDEX IF NOT EXISTS idx_tokens_revoked_at ON tokens(revoked_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_users_rejected ON users(user_id) WHERE disabled OR tokens_valid_from IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_users_team ON users(team);

-- The token of a request, if it has a limit of its own. In counters its scope is 'jti'.
ALTER TABLE reservations ADD COLUMN IF NOT EXISTS jti VARCHAR(255);
CREATE INDEX IF NOT EXISTS idx_reservations_jti ON reservations(jti, period) WHERE jti IS NOT NULL;

-- Admission with the limit of a token. The function of 0002 stays, for older programs.
CREATE OR REPLACE FUNCTION bedrock_proxy_reserve(
    the_id TEXT, the_holder TEXT, the_user TEXT, the_team TEXT, the_period BIGINT, the_tokens BIGINT,
    the_end BIGINT, user_limit BIGINT, team_limit BIGINT, the_time BIGINT, the_jti TEXT, token_limit BIGINT,
    OUT granted BOOLEAN, OUT user_used BIGINT, OUT user_reserved BIGINT, OUT team_used BIGINT,
    OUT team_reserved BIGINT, OUT token_used BIGINT, OUT token_reserved BIGINT
) LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF user_limit IS NOT NULL THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('user ' || the_user, 8081));
    END IF;
    IF team_limit IS NOT NULL AND the_team IS NOT NULL THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('team ' || the_team, 8081));
    END IF;
    IF token_limit IS NOT NULL THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('jti ' || the_jti, 8081));
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
    token_used := 0;
    token_reserved := 0;
    IF the_jti IS NOT NULL THEN
        SELECT
            COALESCE((SELECT c.used FROM counters c
                      WHERE c.scope = 'jti' AND c.name = the_jti AND c.period = the_period), 0),
            COALESCE((SELECT SUM(r.tokens) FROM reservations r
                      WHERE r.jti = the_jti AND r.period = the_period AND r.expires_at > the_time), 0)
        INTO token_used, token_reserved;
    END IF;
    granted := (user_limit IS NULL OR user_used + user_reserved + the_tokens <= user_limit)
        AND (team_limit IS NULL OR the_team IS NULL OR team_used + team_reserved + the_tokens <= team_limit)
        AND (token_limit IS NULL OR token_used + token_reserved + the_tokens <= token_limit);
    IF granted THEN
        INSERT INTO reservations (id, holder, user_id, team, period, tokens, expires_at, jti)
        VALUES (the_id, the_holder, the_user, the_team, the_period, the_tokens, the_end, the_jti);
    END IF;
END
$$;
