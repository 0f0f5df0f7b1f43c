, numbered AS (
    INSERT INTO publishers AS p VALUES ($2, 1, $3) ON CONFLICT (id) DO UPDATE
    SET last_number = p.last_number + 1, seen_at = excluded.seen_at
    RETURNING p.last_number
)
INSERT INTO outbox (publisher, number, created_at, body)
SELECT $2, last_number, $3, (SELECT '[' || string_agg(body, ',') || ']' FROM given)
FROM numbered
RETURNING number
