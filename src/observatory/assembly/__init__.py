"""The assembly: settings → backends → services. The only place that names a backend."""
