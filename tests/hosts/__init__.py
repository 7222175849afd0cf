"""Several hosts as network namespaces: needs root."""
