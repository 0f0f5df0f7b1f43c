// Served for good under this name: a change needs another. Before anything is drawn, so that nothing flashes. What was chosen, or what the system prefers.
try {
  const chosen = localStorage.getItem("observatory.theme");
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
} catch {
  // No storage: the system's preference holds.
}
