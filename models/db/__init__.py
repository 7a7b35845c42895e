"""The only place that speaks SQLAlchemy."""
