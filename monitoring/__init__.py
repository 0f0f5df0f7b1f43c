"""What watches the system: rules and scrape configuration of Prometheus, Alertmanager's routes,
Grafana's dashboards. `python -m monitoring` writes the files; they are kept in the repository."""
