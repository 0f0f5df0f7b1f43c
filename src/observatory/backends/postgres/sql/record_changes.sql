, kept AS (
    INSERT INTO history (job, version, body, document)
    SELECT id, version, body, document FROM given
)
