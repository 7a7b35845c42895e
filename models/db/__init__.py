"""Tables, repositories and sessions: the only package that uses SQLAlchemy."""
