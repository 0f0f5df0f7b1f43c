/** Instead of what could not be read yet. */
export function Unread({ error }: { error: Error | null }) {
  return <p class="empty">{error ? `Not read yet: ${error.message}` : "Reading…"}</p>;
}

/** What is shown is what was read last: it says so when it could not be read again. */
export function Again({ error, read }: { error: Error | null; read: unknown }) {
  return error && read ? <p class="warning">Not read again: {error.message}</p> : null;
}
