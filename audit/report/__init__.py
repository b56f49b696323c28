"""How audits report: figures as JSON and text, and a dataset on one page."""
