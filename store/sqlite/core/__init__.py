"""The database itself: connections, migrations, the data folder."""
