UPDATE jobs SET cancel_requested_at = $2, cancel_reason = $3 WHERE id = $1
